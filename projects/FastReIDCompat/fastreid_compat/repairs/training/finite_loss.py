"""A loss that becomes NaN or infinite ends the run with what to change, not with a traceback."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from fastreid.engine import defaults, train_loop
from reid_common.errors import UserError

from ...registry import fix, source_has

logger = logging.getLogger(__name__)


class LossNotFinite(FloatingPointError):
    """A loss is NaN or infinite; the message names it."""


@fix(
    where="engine/train_loop.py:293, engine/defaults.py:355",
    symptom="FloatingPointError: Loss became infinite or NaN, without the loss, nor what to change",
)
def loss_not_finite() -> bool:
    """Name the loss, the iteration, the keys to change and the last usable checkpoint."""
    write = train_loop.SimpleTrainer._write_metrics
    step = defaults.DefaultTrainer.run_step
    if not source_has(write, "Loss became infinite or NaN at iteration"):
        return False

    def _write_metrics(self: Any, loss_dict: Mapping[str, torch.Tensor], data_time: float) -> None:
        try:
            write(self, loss_dict, data_time)
        except FloatingPointError as error:
            values = {name: loss.item() for name, loss in loss_dict.items()}
            bad = [
                f"{name} is {value}" for name, value in values.items() if not math.isfinite(value)
            ]
            # All are finite here if those of another process are not.
            raise LossNotFinite(" and ".join(bad) or f"a loss is not finite: {error}") from error

    def run_step(self: Any) -> None:
        try:
            step(self)
        except LossNotFinite as error:
            raise UserError(explanation(str(error), self)) from error

    train_loop.SimpleTrainer._write_metrics = _write_metrics
    defaults.DefaultTrainer.run_step = run_step
    return True


def explanation(what: str, trainer: Any) -> str:
    """Message for a run whose loss is not finite.

    Args:
        what: as in "loss_cls is nan".
        trainer: a DefaultTrainer; its cfg, iter, epoch and max_epoch are read.
    """
    solver = trainer.cfg.SOLVER
    remedies = [f"lower SOLVER.BASE_LR (now {solver.BASE_LR:g})"]
    if solver.AMP.ENABLED and getattr(trainer._trainer, "dtype", None) is not torch.bfloat16:
        remedies.append("set SOLVER.AMP.DTYPE bf16, which does not overflow")
    if not solver.CLIP_GRADIENTS.ENABLED:
        remedies.append("set SOLVER.CLIP_GRADIENTS.ENABLED True")
    else:
        remedies.append(f"lower CLIP_GRADIENTS.CLIP_VALUE (now {solver.CLIP_GRADIENTS.CLIP_VALUE})")
    return (
        f"{what} at iteration {trainer.iter} (epoch {trainer.epoch + 1} of {trainer.max_epoch}): "
        f"training has diverged; {' or '.join(remedies)}. {_where_to_continue(trainer)}"
    )


def _where_to_continue(trainer: Any) -> str:
    folder = Path(trainer.cfg.OUTPUT_DIR)
    files = sorted(folder.glob("model_*.pth"), key=lambda file: file.stat().st_mtime, reverse=True)
    for file in files:
        if _weights_finite(file):
            newest = file == files[0]
            how = "continue with --resume" if newest else f"set MODEL.WEIGHTS {file}"
            return f"The last good checkpoint is {str(file)!r}: {how}, or start again"
    return "There is no good checkpoint yet: start again"


def _weights_finite(file: Path) -> bool:
    """Whether a checkpoint can be read and no weight in it is NaN or infinite."""
    try:
        model = torch.load(file, map_location="cpu", weights_only=False)["model"]
        return all(bool(value.isfinite().all()) for value in model.values())
    except Exception:
        logger.warning("%s cannot be read", file, exc_info=True)
        return False
