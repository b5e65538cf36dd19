"""Parameter groups of the optimizer."""

from __future__ import annotations

from typing import Any

from torch import nn


def parameter_names(student: nn.Module) -> tuple[list[str], list[str]]:
    """Names of the parameters that are trained: those that decay, then biases and 1-d ones."""
    decayed: list[str] = []
    plain: list[str] = []
    for name, parameter in student.named_parameters():
        if parameter.requires_grad:
            small = parameter.ndim == 1 or name.endswith(".bias")
            (plain if small else decayed).append(name)
    return decayed, plain


def parameter_groups(student: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Groups for an optimizer, as :func:`parameter_names` has them; the second does not decay."""
    parameters = dict(student.named_parameters())
    return [
        {"params": [parameters[name] for name in names], "weight_decay": decay}
        for names, decay in zip(parameter_names(student), (weight_decay, 0.0), strict=True)
    ]
