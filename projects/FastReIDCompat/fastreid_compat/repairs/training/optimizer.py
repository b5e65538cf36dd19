"""Building and stepping the optimizer, which FastReID does over flat ("contiguous") buffers.

``ContiguousParams`` lays all parameters of one learning rate and weight decay into one flat buffer
and makes each parameter, and its gradient, a view into it. The optimizer sees the buffers only.
Whatever replaces a gradient instead of writing into it, or treats a buffer as one parameter, goes
wrong.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import torch
from fastreid.solver import build, optim
from fastreid.solver.optim.swa import SWA
from fastreid.utils.params import ContiguousParams
from reid_common.errors import UserError

from ...registry import Original, fix, replaces

# The released function, for whoever wants to compare: without these fixes it trains nothing.
released_build_optimizer = build.build_optimizer

# Names in torch.optim that SOLVER.OPT cannot take: they need a closure, sparse gradients, matrices
# only, or another optimizer.
_UNUSABLE = ("LBFGS", "Muon", "Optimizer", "SparseAdam", "SWA")
# Their step depends on the norm of each parameter, so that they must see parameters, not buffers.
_LAYERWISE = ("Adafactor", "Lamb")


@fix(
    where="engine/train_loop.py:248,346, utils/params.py:65",
    since="torch 2.0",
    symptom="nothing is trained: no parameter changes, though losses and checkpoints are written",
)
@replaces(build, "build_optimizer")
def gradients_stay_in_their_buffers(
    original: Original, cfg: Any, model: torch.nn.Module, contiguous: bool = True
) -> Any:
    """Let ``zero_grad()`` of the optimizer write zeros instead of dropping the gradients.

    Since torch 2.0 it sets them to None by default. The flat buffers then lose their gradients for
    good, because the backward pass writes into the views, and the optimizer skips every buffer.
    """
    optimizer, params = original(cfg, model, contiguous)
    if isinstance(params, ContiguousParams):
        optimizer.zero_grad = functools.partial(optimizer.zero_grad, set_to_none=False)
    return optimizer, params


@fix(
    where="utils/params.py:93",
    symptom="looking whether parameters still lie in their buffers costs four views of each",
)
@replaces(ContiguousParams, "buffer_is_valid", "p.data.data_ptr() != data_ptr()")
def buffers_looked_at_in_place(_: Original, self: ContiguousParams) -> bool:
    """Compare the places of parameters and gradients without making views of them."""
    parameters = [item["params"][0] for group in self._group_dict.values() for item in group]
    places = zip(parameters, self.data_pointers, self.grad_pointers, strict=True)
    return all(
        p.data_ptr() == data() and p.grad is not None and p.grad.data_ptr() == gradient()
        for p, data, gradient in places
    )


@fix(
    where="solver/build.py:207",
    symptom="AttributeError: module 'torch.optim' has no attribute 'Lamb', which FastReID brings",
)
@replaces(build, "build_optimizer", "getattr(torch.optim, solver_opt)")
def optimizer_names(
    original: Original, cfg: Any, model: torch.nn.Module, contiguous: bool = True
) -> Any:
    """Find FastReID's Lamb under ``SOLVER.OPT``, and answer an unknown name with the known ones.

    The released code looks in ``torch.optim`` only. RAdam stays torch's, which it has been since
    torch 1.10: FastReID's own ``from torch.optim import *`` hides its class of that name.
    """
    name = cfg.SOLVER.OPT
    known = usable_optimizers()
    if name not in known:
        raise UserError(f"SOLVER.OPT is {name!r}; choose one of: {', '.join(sorted(known))}")
    contiguous = contiguous and name not in _LAYERWISE
    if hasattr(torch.optim, name):
        return original(cfg, model, contiguous)
    setattr(torch.optim, name, known[name])
    try:
        return original(cfg, model, contiguous)
    finally:
        delattr(torch.optim, name)


def usable_optimizers() -> dict[str, type[torch.optim.Optimizer]]:
    """Return what ``SOLVER.OPT`` may name: torch's optimizers and FastReID's Lamb."""
    return {
        name: value
        for name, value in vars(optim).items()
        if inspect.isclass(value)
        and issubclass(value, torch.optim.Optimizer)
        and name not in _UNUSABLE
        and not name.startswith("_")
    }


@fix(
    where="solver/build.py:136",
    symptom="after --resume the FREEZE_LAYERS are frozen for another FREEZE_ITERS steps",
)
@replaces(build, "_generate_optimizer_class_with_freeze_layer", "nonlocal cnt")
def freezing_survives_resume(_: Original, optimizer: type, *, freeze_iters: int = 0) -> type:
    """Keep the number of frozen steps in the optimizer's state, which checkpoints hold.

    The released class counts in a variable of its own, which starts at zero in every process.
    """
    if freeze_iters <= 0:
        raise ValueError(f"freeze_iters must be positive, not {freeze_iters}")

    @torch.no_grad()
    def step(self: torch.optim.Optimizer, closure: Callable | None = None) -> None:
        first = self.param_groups[0]
        frozen_steps = first.get("frozen_steps", 0)
        held = []
        if frozen_steps < freeze_iters:
            first["frozen_steps"] = frozen_steps + 1
            groups = [g for g in self.param_groups if g["freeze_status"] == "freeze"]
            held = [(p, p.grad) for group in groups for p in group["params"]]
        for param, _ in held:
            param.grad = None
        optimizer.step(self, closure)  # type: ignore[attr-defined]
        for param, gradient in held:
            param.grad = gradient

    return type(optimizer.__name__ + "WithFreezeLayer", (optimizer,), {"step": step})


@fix(
    where="solver/build.py:304",
    symptom="FREEZE_LAYERS b1, as in the configs of MGN, freezes b1_head as well: nothing learns",
)
@replaces(build, "get_default_optimizer_params", "pattern.match(name)")
def freezing_by_whole_names(
    original: Original, model: torch.nn.Module, *args: Any, freeze_layers: Any = (), **kwargs: Any
) -> Any:
    """Let ``FREEZE_LAYERS`` name modules, whole, which their batch norms are frozen by as well.

    They are patterns that the beginning of a parameter's name may fit.
    """
    whole = [rf"(?:{layer})(?:\.|$)" for layer in freeze_layers]
    return original(model, *args, freeze_layers=whole, **kwargs)


@fix(
    where="solver/optim/swa.py:107",
    since="torch 2.0",
    symptom="AttributeError: 'SWA' object has no attribute '_optimizer_step_pre_hooks'",
)
@replaces(SWA, "__init__", "self.optimizer = optimizer")
def swa_is_an_optimizer(
    original: Original, self: SWA, optimizer: torch.optim.Optimizer, *args: Any, **kwargs: Any
) -> None:
    """Give SWA the attributes that torch's optimizers have, and the wrapped optimizer's zero_grad.

    SWA inherits from Optimizer without calling its ``__init__``.
    """
    original(self, optimizer, *args, **kwargs)
    torch.optim.Optimizer.__setstate__(self, {})
    self.zero_grad = optimizer.zero_grad
