"""Tensors of all processes together."""

from __future__ import annotations

import torch
from fastreid.utils import comm
from torch import Tensor


@torch.no_grad()
def gathered(tensor: Tensor) -> Tensor:
    """(B, ...) of each process -> (N, ...) of all of them, rank 0's first; without gradients."""
    if comm.get_world_size() == 1:
        return tensor
    parts = [torch.empty_like(tensor) for _ in range(comm.get_world_size())]
    torch.distributed.all_gather(parts, tensor.contiguous())
    return torch.cat(parts)
