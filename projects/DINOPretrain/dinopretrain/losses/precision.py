"""Losses are calculated in float32 at least."""

from __future__ import annotations

import torch
from torch import Tensor


def precise(tensor: Tensor) -> Tensor:
    """The tensor in float32, or as it is if it has more precision than that."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
