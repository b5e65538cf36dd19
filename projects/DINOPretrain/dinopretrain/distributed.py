"""Tensors of all processes, in the order of their ranks; with one process nothing happens."""

from __future__ import annotations

import torch
from fastreid.utils import comm
from reid_core.run.devices import from_host
from torch import Tensor, nn


def own_part(tensor: Tensor) -> Tensor:
    """(N, ...) of all processes -> (B, ...), the rows of this one."""
    return tensor.chunk(comm.get_world_size())[comm.get_rank()]


@torch.no_grad()
def shared_permutation(count: int, device: torch.device) -> Tensor:
    """Draw a permutation (count,) in process 0, and give it to all.

    It is drawn from torch's generator of the CPU, which every epoch seeds anew, so that a resumed
    run repeats it.
    """
    order = from_host(torch.randperm(count), device)
    if comm.get_world_size() > 1:
        torch.distributed.broadcast(order, 0)
    return order


@torch.no_grad()
def copy_buffers_of_rank_0(*modules: nn.Module) -> None:
    """Give all processes the buffers (BatchNorm's statistics) of process 0."""
    buffers = [buffer for module in modules for buffer in module.buffers()]
    if comm.get_world_size() == 1 or not buffers:
        return
    # One message instead of hundreds; counters of batches are exact in float64, up to 2 ** 53.
    joined = torch.cat([buffer.flatten().double() for buffer in buffers])
    torch.distributed.broadcast(joined, 0)
    for buffer, part in zip(buffers, joined.split([b.numel() for b in buffers]), strict=True):
        buffer.copy_(part.view_as(buffer))
