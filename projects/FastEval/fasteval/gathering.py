"""Features of all processes on the first one, which holds them once.

FastReID gathers pickled lists: while it does so the first process holds the features as bytes, as
the lists of each process and as one tensor. Here each process sends its rows, and the first one
receives them in their place.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from fastreid.utils import comm
from torch import Tensor


def gather_rows(rows: Tensor) -> Tensor | None:
    """Put the rows of all processes together, in the order of their ranks.

    Args:
        rows: (n, ...) on the CPU; n may differ between the processes and be 0, and what follows
            n only matters where n > 0.

    Returns:
        (sum of n, ...) on the first process, None on the others. All processes must call it.
    """
    if comm.get_world_size() == 1:
        return rows
    shapes = comm.all_gather(tuple(rows.shape))
    group = comm._get_global_gloo_group()
    rows = rows.contiguous()
    if not comm.is_main_process():
        if len(rows):
            dist.send(rows, dst=0, group=group)
        return None
    filled = [shape for shape in shapes if shape[0]]
    tail = filled[0][1:] if filled else rows.shape[1:]
    everything = torch.empty((sum(shape[0] for shape in filled), *tail), dtype=rows.dtype)
    everything[: len(rows)] = rows
    end = len(rows)
    for source, shape in enumerate(shapes):
        if source and shape[0]:
            dist.recv(everything[end : end + shape[0]], src=source, group=group)
            end += shape[0]
    return everything
