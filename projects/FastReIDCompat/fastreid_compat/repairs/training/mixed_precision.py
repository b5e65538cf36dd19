"""Mixed precision of training: on any device, in the type that SOLVER.AMP.DTYPE names.

Evaluation is not touched by it: FastReID evaluates in float32, with AMP or without.
"""

from __future__ import annotations

import contextvars
import functools
import logging
import time
from collections.abc import Callable
from typing import Any

import torch
from fastreid.engine import defaults, train_loop
from fastreid.utils.params import ContiguousParams
from reid_common.errors import UserError

from ...registry import fix, source_has
from ..config.settings import resolve_device
from .measured_precision import MEASURED, measured_dtype

logger = logging.getLogger(__name__)

KEY = "SOLVER.AMP.DTYPE"
DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}
AMPERE = (8, 0)  # compute capability of the first NVIDIA GPUs that calculate in bfloat16

# DefaultTrainer makes its AMPTrainer without a config.
_chosen: contextvars.ContextVar[str] = contextvars.ContextVar("SOLVER.AMP.DTYPE", default="auto")
_folder: contextvars.ContextVar[str] = contextvars.ContextVar("OUTPUT_DIR", default="")


def cpu_has_bf16() -> bool:
    """Whether the processor multiplies in bfloat16; others emulate it, up to 60 times slower."""
    # Private, hence the default
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    mkldnn = torch.backends.mkldnn
    return bool(mkldnn.is_available() and mkldnn.enabled and supported())


def cuda_has_bf16() -> bool:
    """Whether the GPU of this process calculates in bfloat16; older ones emulate it."""
    return torch.cuda.is_available() and torch.cuda.get_device_capability() >= AMPERE


def amp_dtype(name: str, device_type: str) -> torch.dtype | None:
    """Type of the autocast regions for a value of SOLVER.AMP.DTYPE; None for no autocast.

    Args:
        name: "fp16", "bf16", or "auto": bfloat16 on GPUs and processors that calculate in it and
            on other devices; float16 on other GPUs; None on other processors. "measured" as "auto":
            what a trainer on a CPU has measured is its own, see :mod:`.measured_precision`.
        device_type: as in ``torch.device.type``.

    Raises:
        UserError: another name.
    """
    if name not in ("auto", MEASURED, *DTYPES):
        raise UserError(
            f"{KEY}: {name!r} is unknown. Write auto, {MEASURED}, {' or '.join(DTYPES)}."
        )
    if name in ("auto", MEASURED):
        if device_type == "cpu" and not cpu_has_bf16():
            return None
        name = "fp16" if device_type == "cuda" and not cuda_has_bf16() else "bf16"
    return DTYPES[name]


def check_amp(cfg: Any) -> None:
    """Raise UserError when SOLVER.AMP asks for what MODEL.DEVICE cannot do.

    Args:
        cfg: FastReID's configuration, merged.
    """
    amp = cfg.SOLVER.AMP
    device = torch.device(resolve_device(cfg))
    dtype = amp_dtype(amp.DTYPE, device.type)
    if not amp.ENABLED:
        return
    if device.type == "cuda" and dtype is torch.bfloat16:
        capability = torch.cuda.get_device_capability(device)
        if capability < AMPERE:
            raise UserError(
                f"{KEY}: {torch.cuda.get_device_name(device)} (compute capability "
                f"{capability[0]}.{capability[1]}) does not calculate in bfloat16, which needs "
                f"8.0. Set {KEY} to fp16."
            )
    if device.type == "cpu" and amp.DTYPE == MEASURED:
        return
    if device.type == "cpu" and dtype is None:
        _say("%s auto: this processor does not multiply in bfloat16; training in float32", KEY)
    elif device.type == "cpu" and (dtype is torch.float16 or not cpu_has_bf16()):
        _say("%s %s is slow on this processor; set it to auto", KEY, amp.DTYPE)


@functools.cache
def _say(text: str, *values: str) -> None:
    logger.warning(text, *values)


@fix(
    where="engine/train_loop.py:325,335",
    since="always (CPU), torch 2.4 (torch.cuda.amp deprecated)",
    symptom="AssertionError: CUDA is required for AMP training!",
)
def mixed_precision_anywhere() -> bool:
    """Train with AMP on any device: float16 and a scaler with CUDA, bfloat16 where it is fast."""
    trainer = train_loop.AMPTrainer
    if not source_has(trainer.run_step, "CUDA is required for AMP training"):
        return False
    original = trainer.__init__

    def init(
        self: Any,
        model: torch.nn.Module,
        data_loader: Any,
        optimizer: torch.optim.Optimizer,
        param_wrapper: Any,
        grad_scaler: Any = None,
    ) -> None:
        self.device_type = next(model.parameters()).device.type
        self.dtype = amp_dtype(_chosen.get(), self.device_type)
        if self.device_type == "cpu" and _chosen.get() == MEASURED:
            self.dtype = measured_dtype(model, _folder.get())
        if grad_scaler is None:
            # bfloat16 has the exponent of float32: there is nothing to scale.
            scaled = self.dtype is torch.float16
            device_type = self.device_type if scaled else "cpu"
            grad_scaler = torch.amp.GradScaler(device_type, enabled=scaled)
        original(self, model, data_loader, optimizer, param_wrapper, grad_scaler)

    trainer.__init__ = init
    trainer.run_step = _amp_step
    return True


def _amp_step(self: train_loop.AMPTrainer) -> None:
    """One step of ``AMPTrainer``."""
    if not self.model.training:
        raise AssertionError("[AMPTrainer] model was changed to eval mode!")
    start = time.perf_counter()
    data = next(self._data_loader_iter)
    data_time = time.perf_counter() - start

    with torch.amp.autocast(self.device_type, dtype=self.dtype, enabled=self.dtype is not None):
        loss_dict = self.model(data)
        losses = sum(loss_dict.values())

    self.optimizer.zero_grad()
    self.grad_scaler.scale(losses).backward()
    self._write_metrics(loss_dict, data_time)
    # Before a fused optimizer's step, which would else clip gradients that are still scaled.
    if self.grad_scaler.is_enabled():
        self.grad_scaler.unscale_(self.optimizer)
    self.grad_scaler.step(self.optimizer)
    self.grad_scaler.update()
    if isinstance(self.param_wrapper, ContiguousParams):
        self.param_wrapper.assert_buffer_is_valid()


@fix(
    where="engine/defaults.py:223",
    symptom="AMP is float16, which overflows where bfloat16 does not; no key chooses it",
)
def mixed_precision_by_config() -> bool:
    """Give the trainer's AMP the type that SOLVER.AMP.DTYPE names."""
    cls = defaults.DefaultTrainer
    original: Callable[[Any, Any], None] = cls.__init__

    def __init__(self: Any, cfg: Any) -> None:
        check_amp(cfg)
        tokens = _chosen.set(cfg.SOLVER.AMP.DTYPE), _folder.set(cfg.OUTPUT_DIR)
        try:
            original(self, cfg)
        finally:
            _chosen.reset(tokens[0])
            _folder.reset(tokens[1])

    cls.__init__ = __init__
    return True
