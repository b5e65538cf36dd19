"""What can go wrong in DINO, watched: collapse of both kinds, and losses that are no number.

Source: Caron et al., ICCV 2021, section 5.3: without centring one output dimension dominates (the
teacher's entropy goes to 0), without sharpening all outputs are equal (it goes to ln K).

Letter: K outputs.
"""

from __future__ import annotations

import itertools
import logging
import math

import numpy as np
from fastreid.engine.train_loop import HookBase
from reid_common.errors import UserError

logger = logging.getLogger(__name__)

# Shares of ln K. A head as initialised is at about 0.9 with the default temperatures.
UNIFORM, ONE_HOT = 0.99, 0.03
REMEDIES = {
    "uniform": "all outputs are equal, the loss is ln K. Lower DINO.TEACHER_TEMP (0.04) and "
    "DINO.WARMUP_TEACHER_TEMP, lower DINO.OUT_DIM for small batches, raise DINO.MOMENTUM (0.9995 "
    "at batch 256), lower SOLVER.BASE_LR or lengthen SOLVER.WARMUP_EPOCHS",
    "one_hot": "all images get the same output dimension. Lower DINO.CENTER_MOMENTUM (0.9) so that "
    "the centre follows, raise DINO.TEACHER_TEMP (0.04 to 0.07), lower SOLVER.BASE_LR, raise "
    "DINO.FREEZE_LAST_LAYER",
}


def collapse_kind(
    loss: float, teacher_entropy: float, mean_entropy: float, out_dim: int
) -> str | None:
    """Name of a collapse, from means over some steps in nats (see :class:`.outputs.OutputSums`).

    Returns:
        "uniform" (teacher's outputs and loss at ln K), "one_hot" (one output dimension takes all
        images), or None.
    """
    highest = math.log(out_dim)
    if min(loss, teacher_entropy) > UNIFORM * highest:
        return "uniform"
    return "one_hot" if mean_entropy < ONE_HOT * highest else None


class CollapseWatch(HookBase):
    """Looks at the second half of each epoch for collapse, says it, and can stop the run.

    Args:
        out_dim: K.
        stop: raise UserError; False only logs, once an epoch.
        grace: iterations at the start of the training that are not looked at.
    """

    WATCHED = ("loss_dino", "teacher_entropy", "mean_entropy")

    def __init__(self, out_dim: int, stop: bool, grace: int) -> None:
        self.out_dim, self.stop, self.grace = out_dim, stop, grace

    def after_epoch(self) -> None:
        """Judge the epoch; raises UserError where it collapsed, if ``stop``."""
        seen = [self._of_second_half(name) for name in self.WATCHED]
        if not all(seen):
            return  # too early, or all steps were skipped
        loss, teacher, mean = (float(np.mean(values)) for values in seen)
        kind = collapse_kind(loss, teacher, mean, self.out_dim)
        if kind is None:
            return
        message = (
            f"DINO has collapsed ({kind}) in epoch {self.trainer.epoch}: {REMEDIES[kind]}. Loss "
            f"{loss:.3f}, entropy of the teacher {teacher:.3f}, of its mean output {mean:.3f}; "
            f"ln K is {math.log(self.out_dim):.3f}"
        )
        if self.stop:
            raise UserError(
                f"{message}. DINO.STOP_ON_COLLAPSE False would go on; DINO.COLLAPSE_GRACE "
                f"({self.grace}) is the number of iterations that are not looked at"
            )
        logger.error(message)

    def _of_second_half(self, name: str) -> list[float]:
        """Values of a metric in the second half of this epoch, after the grace."""
        trainer, per_epoch = self.trainer, self.trainer.iters_per_epoch
        first = max(self.grace, trainer.epoch * per_epoch + per_epoch // 2)
        history = trainer.storage.histories().get(name)
        newest_first = reversed(history.values()) if history is not None else []
        return [v for v, _ in itertools.takewhile(lambda pair: pair[1] >= first, newest_first)]
