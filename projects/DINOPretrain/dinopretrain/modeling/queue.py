"""Queues of keys: negatives of earlier batches.

Source: He et al., "Momentum Contrast for Unsupervised Visual Representation Learning", CVPR 2020,
section 3.2.

Letters: Q queues, C dimensions, K keys in each, N keys that a step adds.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class KeyQueue(nn.Module):
    """Q queues of K keys of length 1, noise at first; a step's keys replace the oldest.

    They and the pointer are part of the state dict.

    Args:
        dim: C.
        size: K.
        num_queues: Q; they share one pointer.
    """

    keys: Tensor
    pointer: Tensor

    def __init__(self, dim: int, size: int, num_queues: int = 1) -> None:
        super().__init__()
        self.register_buffer("keys", F.normalize(torch.randn(num_queues, dim, size), dim=1))
        self.register_buffer("pointer", torch.zeros(1, dtype=torch.long))

    @torch.no_grad()
    def push(self, *keys: Tensor, counts: Tensor | None = None) -> None:
        """Replace the oldest keys of each queue by (N, C), those of all processes by rank.

        Where ``counts``, a boolean on the device, is False, nothing changes.
        """
        size = self.keys.shape[2]
        if counts is None:
            counts = torch.ones_like(self.pointer, dtype=torch.bool)
        columns = (self.pointer + torch.arange(len(keys[0]), device=self.keys.device)) % size
        for queue, new in zip(self.keys, keys, strict=True):
            queue[:, columns] = torch.where(counts, new.T.to(queue), queue[:, columns])
        moved = (self.pointer + len(keys[0])) % size
        self.pointer.copy_(torch.where(counts, moved, self.pointer))

    def figures(self, step: int, new_keys: int, momentum: float) -> dict[str, float]:
        """What is watched of a queue.

        Args:
            step: 0-based iteration.
            new_keys: N.
            momentum: m of the key encoder in this step.

        Returns:
            "queue_age": steps since the oldest of K keys was made, once all are real;
            "queue_filled": share of the keys that are no noise; "queue_staleness": by how much the
            key encoder has followed the queries' since the oldest key, 1 - m ** age.
        """
        age = self.keys.shape[2] / new_keys
        return {
            "queue_age": age,
            "queue_filled": min(1.0, (step + 1) / age),
            "queue_staleness": 1 - momentum ** min(age, step + 1),
        }
