"""Images as both models take them, in batches that end where a shard does."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from dinopretrain.data.images import BadImage, UnlabelledImages
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

Transform = Callable[[Image.Image], Tensor]


class ResizedImages(Dataset):
    """Images as the models take them; what cannot be read comes as a reason.

    Args:
        images: to read from.
        transform: from a PIL image to a tensor (3, H, W), pixels 0..255.
    """

    def __init__(self, images: UnlabelledImages, transform: Transform) -> None:
        self.images, self.transform = images, transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[int, Tensor | str]:
        try:
            return index, self.transform(Image.fromarray(self.images.read(index)))
        except BadImage as error:
            return index, error.reason


class Batches:
    """The batches of shards, made as they are asked for.

    Args:
        shards: (number, indices) of each.
        size: images a batch.
    """

    def __init__(self, shards: list[tuple[int, range]], size: int) -> None:
        self.shards, self.size = shards, size

    def __iter__(self) -> Iterator[range]:
        for _, rows in self.shards:
            yield from (rows[i : i + self.size] for i in range(0, len(rows), self.size))
