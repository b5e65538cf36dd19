"""Clip the gradients of a step, each parameter's on its own or all together."""

from __future__ import annotations

import torch
from fastreid_compat.repairs.training import fused
from torch import Tensor, nn


def clip_each(parameters: list[nn.Parameter], max_norm: float) -> Tensor:
    """Scale each gradient down to the norm ``max_norm`` on its own, in place; 0 clips nothing.

    Returns:
        Norm of all gradients together, before; 0-dimensional.
    """
    return torch.linalg.vector_norm(fused.clip_each(parameters, max_norm))


@torch.no_grad()
def clip_together(parameters: list[nn.Parameter], max_norm: float) -> Tensor:
    """Scale all gradients down to a total norm of ``max_norm``; else as :func:`clip_each`."""
    total = clip_each(parameters, 0.0)
    if max_norm > 0:
        gradients = [p.grad for p in parameters if p.grad is not None]
        torch._foreach_mul_(gradients, (max_norm / (total + fused.EPS)).clamp(max=1.0))
    return total
