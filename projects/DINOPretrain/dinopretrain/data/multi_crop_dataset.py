"""Samples of views, and batches of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from fastreid_compat.repairs.loading.reproducible import draws_of
from reid_common.errors import UserError
from torch.utils.data import Dataset, default_collate

from .images import BadImage, UnlabelledImages

MAX_BAD_IN_A_ROW = 20


class MultiCropDataset(Dataset[dict[str, Any]]):
    """The views of each image; an image that cannot be read is replaced by another.

    The random draws of a sample, the choice of a replacement among them, depend on the index that
    the batch sampler hands out (see ``repairs.loading.reproducible``) and on nothing else.

    Args:
        images: to read from.
        transform: image (H, W, 3) uint8 -> {"global_views": (G, H, W, 3) uint8, "local_views":
            (L, h, w, 3) uint8}.

    """

    num_classes = num_cameras = 0  # no labels; FastReID's trainer asks

    def __init__(
        self, images: UnlabelledImages, transform: Callable[[np.ndarray], dict[str, np.ndarray]]
    ) -> None:
        self.images, self.transform = images, transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Views of an image, "index" of the one that was read, and "bad": [(name, reason), ...].

        Raises:
            UserError: 20 images in a row cannot be read.
        """
        bad: list[tuple[str, str]] = []
        for chosen in self._candidates(index):
            try:
                image = self.images.read(chosen)
            except BadImage as error:
                bad.append((error.name, error.reason))
                continue
            with draws_of(index):
                views = self.transform(image)
            return {**views, "index": chosen, "bad": bad}
        name, reason = bad[-1]
        raise UserError(
            f"{len(bad)} images in a row cannot be read; the last is {name!r} ({reason}). Is the "
            "disk there, and the data set complete?"
        )

    def _candidates(self, index: int) -> list[int]:
        """The index itself, then others in an order that depends on it."""
        entropy = getattr(index, "entropy", (int(index),))
        rng = np.random.default_rng(np.random.SeedSequence(entropy, spawn_key=(11,)))
        others = rng.integers(len(self), size=MAX_BAD_IN_A_ROW - 1)
        return [int(index), *others.tolist()]


def collate_views(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Make a batch of B samples of :class:`MultiCropDataset`.

    Returns:
        "global_views" (B, G, H, W, 3) and "local_views" (B, L, h, w, 3), uint8 RGB; "index" (B,)
        int64; "bad": (name, reason) of all images that were replaced; with masks "masks" (B, G,
        rows, columns) bool, a NumPy array: the host counts them, it is not copied to a GPU.
    """
    batch: dict[str, Any] = {"bad": [bad for sample in samples for bad in sample["bad"]]}
    for key in (key for key in samples[0] if key != "bad"):
        values = [sample[key] for sample in samples]
        batch[key] = np.stack(values) if key == "masks" else default_collate(values)
    return batch
