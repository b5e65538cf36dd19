"""Optimizers in one kernel, and gradients that are clipped in a few.

torch's ``fused`` SGD, Adam and AdamW read, update and write each parameter once. They can also skip
a step on the device, without the host knowing, which float16's gradient scaler makes use of.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import torch
from fastreid.engine import hooks
from fastreid.solver import build
from fastreid.utils.params import ContiguousParams
from torch import Tensor

from ...registry import Original, fix, rebind, replaces, source_has

KINDS = (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW)
EPS = 1e-6  # of torch.nn.utils.clip_grad_norm_


def use_fused(optimizer: torch.optim.Optimizer, devices: Collection[str] = ("cuda",)) -> bool:
    """Let an optimizer work in one kernel, if it is SGD, Adam or AdamW and all is on ``devices``.

    State of checkpoints, from a fused optimizer or another, loads as before and does not change
    that choice.

    Returns:
        Whether it does.
    """
    if not isinstance(optimizer, KINDS):
        return False
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    fused = all(p.device.type in devices and p.is_floating_point() for p in parameters)
    if fused:
        of_fused: Any = optimizer  # what torch's constructor sets for fused=True
        of_fused._step_supports_amp_scaling = True
        of_fused._need_device_dtype_check_for_fused = True
    for options in (optimizer.defaults, *optimizer.param_groups):
        options["fused"] = fused or None

    def own_choice(_: Any, state: dict[str, Any]) -> dict[str, Any]:
        groups = [{**group, "fused": fused or None} for group in state["param_groups"]]
        return {**state, "param_groups": groups}

    optimizer.register_load_state_dict_pre_hook(own_choice)
    return fused


@torch.no_grad()
def clip_each(parameters: Collection[Tensor], max_norm: float, norm_type: float = 2.0) -> Tensor:
    """Scale each gradient down to the norm ``max_norm`` on its own, in place; 0 clips nothing.

    As torch.nn.utils.clip_grad_norm_ for one parameter after the other.

    Returns:
        Norms of all gradients (n,), before; of those that there are.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    if not gradients:
        return torch.zeros(0)
    norms = torch.stack(torch._foreach_norm(gradients, norm_type))
    if max_norm > 0:
        factors = (max_norm / (norms + EPS)).clamp(max=1.0)
        torch._foreach_mul_(gradients, list(factors.unbind()))
    return norms


@fix(
    where="solver/build.py:200-210",
    symptom="an optimizer's step is a dozen kernels, and with float16 it waits for the GPU",
)
@replaces(build, "build_optimizer")
def optimizer_in_one_kernel(
    original: Original, cfg: Any, model: torch.nn.Module, contiguous: bool = True
) -> Any:
    """Use torch's fused SGD, Adam and AdamW with CUDA; on CPUs results stay bit for bit."""
    optimizer, params = original(cfg, model, contiguous)
    use_fused(optimizer)
    return optimizer, params


@fix(
    where="solver/build.py:68-70",
    symptom="CLIP_GRADIENTS clips the norm of all parameters of a group together, not of each one",
)
def clipping_per_parameter() -> bool:
    """Clip each parameter's gradient on its own, as the comment in the config promises.

    The clipper is called with the parameters that the optimizer knows: the flat buffers. Each
    buffer gets a list of the parameters in it here, and the clipper takes them at once.
    """
    if not source_has(build._create_gradient_clipper, "clip_grad_norm_(p, cfg.CLIP_VALUE"):
        return False
    original_clipper = build._create_gradient_clipper
    original_layout = ContiguousParams.make_params_contiguous

    def make_params_contiguous(self: ContiguousParams) -> None:
        original_layout(self)
        for buffer, group in zip(self._param_buffer, self._group_dict.values(), strict=True):
            buffer.parts = [item["params"][0] for item in group]

    def create_gradient_clipper(cfg: Any) -> Callable[[Tensor], None]:
        clip = original_clipper(cfg)
        if cfg.CLIP_TYPE != "norm":
            return clip  # of each element

        def clip_parts(param: Tensor) -> None:
            parts = getattr(param, "parts", [param])
            clip_each(parts, float(cfg.CLIP_VALUE), float(cfg.NORM_TYPE))

        return clip_parts

    ContiguousParams.make_params_contiguous = make_params_contiguous
    rebind(original_clipper, create_gradient_clipper)
    return True


@fix(
    where="engine/hooks.py:252,260",
    symptom="with float16 each step waits twice for the scale of the gradients",
)
def warm_up_without_waiting() -> bool:
    """Warm up by iterations, those included in which float16's scaler skips the step."""
    if not source_has(hooks.LRScheduler.after_step, "self.trainer.grad_scaler.get_scale()"):
        return False

    def after_step(self: hooks.LRScheduler) -> None:
        rate = self._optimizer.param_groups[self._best_param_group_id]["lr"]
        self.trainer.storage.put_scalar("lr", rate, smoothing_hint=False)
        if self.trainer.iter + 1 <= self.trainer.warmup_iters:
            self._scheduler["warmup_sched"].step()

    hooks.LRScheduler.before_step = lambda self: None
    hooks.LRScheduler.after_step = after_step
    return True
