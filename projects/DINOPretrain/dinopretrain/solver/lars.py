"""LARS: a step whose length is a share of the length of the weights.

Source: You et al., "Large Batch Training of Convolutional Networks", arXiv 1708.03888; as MoCo v3
uses it: parameters with one dimension (biases, norms) have neither decay nor scaling.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class LARS(torch.optim.Optimizer):
    """SGD with momentum on gradients g * trust * |p| / |g|, of g + decay * p.

    Args:
        params: parameters, or groups of them.
        lr: learning rate.
        momentum: of the moving sum mu <- momentum * mu + g; p <- p - lr * mu.
        weight_decay: added to the gradients of parameters with two dimensions or more.
        trust: the share.

    Attributes:
        found_inf: set by what steps, 1.0 on the device where the step is to change nothing, so that
            the host need not know (as torch's fused optimizers have it).
    """

    found_inf: Tensor | None = None
    _step_supports_amp_scaling = True

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.0,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        trust: float = 0.001,
    ) -> None:
        settings = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "trust": trust}
        super().__init__(params, settings)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step of all parameters that have a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._step(parameter, group)
        return loss

    def _step(self, parameter: Tensor, group: dict[str, Any]) -> None:
        update = parameter.grad
        assert update is not None
        if parameter.ndim > 1:
            update = update + group["weight_decay"] * parameter
            lengths = parameter.norm(), update.norm()
            ratio = group["trust"] * lengths[0] / lengths[1]
            known = (lengths[0] > 0) & (lengths[1] > 0)
            update = update * torch.where(known, ratio, torch.ones_like(ratio))
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        moved = state["momentum_buffer"].mul(group["momentum"]).add_(update)
        after = parameter.add(moved, alpha=-group["lr"])
        if self.found_inf is not None:
            keep = self.found_inf == 0
            moved = torch.where(keep, moved, state["momentum_buffer"])
            after = torch.where(keep, after, parameter)
        state["momentum_buffer"].copy_(moved)
        parameter.copy_(after)
