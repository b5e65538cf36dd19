"""An exported graph as a backend: it is given what its profile takes, made of plain pixels.

Letters: B images, D dimensions, H, W pixels.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...export.profiles import profile_of
from ...export.received import Received
from ...export.resize import KERNELS
from .backend import Runner


class GraphModel:
    """See :class:`~.backend.Backend`.

    Args:
        runner: of the file; of any profile.

    Attributes:
        image_size: (H, W) in pixels.
    """

    def __init__(self, runner: Runner) -> None:
        self.runner = runner
        self.backend, self.precision = runner.backend, runner.precision
        self.image_size: tuple[int, int] = tuple(json.loads(runner.metadata["image_size"]))
        profile = profile_of(runner.metadata)
        self._received = Received(profile, self.image_size, next(iter(KERNELS)))

    def feeds(self, images: Tensor, camids: Tensor, viewids: Tensor) -> dict[str, Any]:
        """Inputs of the graph by name, for pixels (B, 3, H, W) of 0..255 and ids (B,)."""
        given = {"images": self._received.given(images), "camids": camids, "viewids": viewids}
        feeds = {name: given[name] for name in self.runner.inputs[1:]}
        feeds[self.runner.inputs[0]] = given["images"]  # consumers may call it otherwise
        return {name: value.cpu().contiguous().numpy() for name, value in feeds.items()}

    def batches(
        self, images: Tensor, camids: Tensor, viewids: Tensor
    ) -> Iterator[tuple[dict[str, Any], int]]:
        """Yield inputs that the graph takes at once, and how many images they are.

        A graph of a fixed batch gets its last image again to fill it up.
        """
        feeds, size = self.feeds(images, camids, viewids), self.runner.batch
        for start in range(0, len(images), size or len(images)):
            part = {k: v[start : start + size] if size else v for k, v in feeds.items()}
            count = len(next(iter(part.values())))
            if size > count:
                part = {
                    k: np.concatenate([v, v[-1:].repeat(size - count, 0)]) for k, v in part.items()
                }
            yield part, count

    def __call__(self, images: Tensor, camids: Tensor, viewids: Tensor) -> Tensor:
        """Features (B, D)."""
        parts = self.batches(images, camids, viewids)
        return torch.from_numpy(np.concatenate([self.runner.run(x)[:count] for x, count in parts]))
