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
    def push(self, *keys: Tensor) -> None:
        """Replace the oldest keys of each queue by (N, C), those of all processes by rank."""
        size = self.keys.shape[2]
        first = int(self.pointer)
        columns = (first + torch.arange(len(keys[0]), device=self.keys.device)) % size
        for queue, new in zip(self.keys, keys, strict=True):
            queue[:, columns] = new.T.to(queue)
        self.pointer.fill_((first + len(keys[0])) % size)
