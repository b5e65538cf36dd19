"""SOLVER.AMP.DTYPE measured: bfloat16 on a CPU if the model's own products are faster in it.

Flags of a processor say that it has an instruction, not that a kernel uses it. So the products of
the model's layers, forward and backward, are timed in both types, in turns, once before step 1. The
decision lies in OUTPUT_DIR beside the checkpoints: a resumed run takes it, on whatever machine.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from fastreid.utils import comm
from reid_common.files import read_json, was_begun, write_json
from reid_common.timing import WALL, alternate, timed
from torch import Tensor, nn

MEASURED = "measured"
RECORD = "amp_dtype.json"
ROWS = 256  # tokens of a product
MAPS = (4, 16, 8)  # images, height, width of a convolution's input
MOST_SHAPES = 8  # the largest count
ROUNDS = 3
WORTHWHILE = 1.1  # times faster, below which float32 stays

logger = logging.getLogger(__name__)


def measured_dtype(model: nn.Module, folder: str) -> torch.dtype | None:
    """Type of the autocast regions of a training on a CPU; None for float32.

    Args:
        model: it stays as it is; no random number is drawn from torch's generator.
        folder: OUTPUT_DIR; "": nothing is kept.
    """
    file = Path(folder) / RECORD
    resumed = bool(folder) and was_begun(folder) and file.exists()
    if not resumed and (comm.is_main_process() or not folder):
        decision = _decide(model)
        if folder:
            write_json(file, decision)
    if folder:
        comm.synchronize()  # others read what the main process wrote
        decision = read_json(file)
    ratio = decision["float32_seconds"] / decision["bfloat16_seconds"]
    logger.info(
        "SOLVER.AMP.DTYPE measured%s: %s; bfloat16 is %.2f times as fast as float32 for the "
        "products of this model's layers (%s)",
        ", as this run began" if resumed else "",
        "training in bfloat16" if decision["dtype"] == "bf16" else "training in float32",
        ratio,
        file if folder else "not kept",
    )
    return torch.bfloat16 if decision["dtype"] == "bf16" else None


def _decide(model: nn.Module) -> dict[str, Any]:
    seconds = {torch.float32: 0.0, torch.bfloat16: 0.0}
    for shape, count in _shapes(model):
        comparison = alternate({str(d): timed(_step(shape, d)) for d in seconds}, ROUNDS)
        for dtype in seconds:
            seconds[dtype] += count * min(s[WALL] for s in comparison.samples[str(dtype)])
    faster = seconds[torch.float32] >= WORTHWHILE * seconds[torch.bfloat16]
    return {
        "dtype": "bf16" if faster and any(seconds.values()) else "fp32",
        "float32_seconds": max(seconds[torch.float32], 1e-9),
        "bfloat16_seconds": max(seconds[torch.bfloat16], 1e-9),
        "threads": torch.get_num_threads(),
    }


def _shapes(model: nn.Module) -> list[tuple[tuple[int, ...], int]]:
    """Shapes of the weights of linear layers and convolutions, the largest first; how many of each.

    A convolution with groups is no large product, and is left out.
    """
    found = Counter(
        tuple(layer.weight.shape)
        for layer in model.modules()
        if isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv2d) and layer.groups == 1)
    )
    size = {shape: count * torch.Size(shape).numel() for shape, count in found.items()}
    return sorted(found.items(), key=lambda pair: -size[pair[0]])[:MOST_SHAPES]


def _step(shape: tuple[int, ...], dtype: torch.dtype) -> Callable[[], None]:
    """Forward and backward pass of one layer, after a first one that prepares."""
    draw = torch.Generator().manual_seed(0)
    weight = torch.randn(shape, generator=draw).requires_grad_()
    inputs: Tensor
    if len(shape) == 2:
        inputs = torch.randn(ROWS, shape[1], generator=draw).requires_grad_()
        product: Callable[..., Tensor] = F.linear
    else:
        images, height, width = MAPS
        size = (images, shape[1], max(height, shape[2]), max(width, shape[3]))
        inputs = torch.randn(size, generator=draw).requires_grad_()
        product = F.conv2d

    def step() -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype is torch.bfloat16):
            out = product(inputs, weight)
        torch.autograd.grad(out.float().sum(), (inputs, weight))

    step()
    return step
