"""A loss that becomes NaN or infinite ends the run with what to change, not with a traceback."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from reid_common.errors import UserError

logger = logging.getLogger(__name__)


class LossNotFinite(FloatingPointError):
    """A loss was NaN or infinite; the message names it.

    Args:
        what: as in "loss_cls is nan".
        iteration: of the loss; it is noticed when metrics are read, some iterations later.
    """

    def __init__(self, what: str, iteration: int) -> None:
        super().__init__(f"{what} at iteration {iteration}")
        self.what, self.iteration = what, iteration


def explained(error: BaseException, trainer: Any) -> BaseException:
    """For a loss of a DefaultTrainer that is not finite a UserError; any other error as it is."""
    if isinstance(error, LossNotFinite) and hasattr(trainer, "cfg"):
        return UserError(explanation(error.what, error.iteration, trainer))
    return error


def explanation(what: str, iteration: int, trainer: Any) -> str:
    """Message for a run whose loss is not finite.

    Args:
        what: as in "loss_cls is nan".
        iteration: of the loss.
        trainer: a DefaultTrainer; its cfg, iters_per_epoch and max_epoch are read.
    """
    solver = trainer.cfg.SOLVER
    remedies = [f"lower SOLVER.BASE_LR (now {solver.BASE_LR:g})"]
    if solver.AMP.ENABLED and getattr(trainer._trainer, "dtype", None) is not torch.bfloat16:
        remedies.append("set SOLVER.AMP.DTYPE bf16, which does not overflow")
    if not solver.CLIP_GRADIENTS.ENABLED:
        remedies.append("set SOLVER.CLIP_GRADIENTS.ENABLED True")
    else:
        remedies.append(f"lower CLIP_GRADIENTS.CLIP_VALUE (now {solver.CLIP_GRADIENTS.CLIP_VALUE})")
    epoch = iteration // trainer.iters_per_epoch + 1
    return (
        f"{what} at iteration {iteration} (epoch {epoch} of {trainer.max_epoch}): "
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
