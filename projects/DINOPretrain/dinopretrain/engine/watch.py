"""What can go wrong in DINO, watched: collapse of both kinds, and losses that are no number.

Source: Caron et al., ICCV 2021, section 5.3: without centring one output dimension dominates (the
teacher's entropy goes to 0), without sharpening all outputs are equal (it goes to ln K).

Letter: K outputs.
"""

from __future__ import annotations

import logging
import math
from collections import defaultdict

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
    """Name of a collapse, None if there is none.

    Args:
        loss: mean over some steps, nats.
        teacher_entropy: see :class:`dinopretrain.losses.outputs.OutputSums`, likewise.
        mean_entropy: likewise.
        out_dim: K.

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
        self._sums: dict[str, float] = defaultdict(float)
        self._steps = 0

    def before_epoch(self) -> None:
        """Forget the epoch before."""
        self._sums.clear()
        self._steps = 0

    def after_step(self) -> None:
        """Take up the step's figures, in the second half of an epoch."""
        if self.trainer.iter < self.grace:
            return
        per_epoch = self.trainer.iters_per_epoch
        latest = self.trainer.storage.latest()
        if (self.trainer.iter % per_epoch) < per_epoch // 2 or self.trainer._trainer.skipped:
            return
        for name in self.WATCHED:
            self._sums[name] += latest[name][0] if isinstance(latest[name], tuple) else latest[name]
        self._steps += 1

    def after_epoch(self) -> None:
        """Judge the epoch.

        Raises:
            UserError: it collapsed and ``stop``.
        """
        if not self._steps:
            return
        means = [self._sums[name] / self._steps for name in self.WATCHED]
        kind = collapse_kind(means[0], means[1], means[2], self.out_dim)
        if kind is None:
            return
        message = (
            f"DINO has collapsed ({kind}) in epoch {self.trainer.epoch}: {REMEDIES[kind]}. Loss "
            f"{means[0]:.3f}, entropy of the teacher {means[1]:.3f}, of its mean output "
            f"{means[2]:.3f}; ln K is {math.log(self.out_dim):.3f}"
        )
        if self.stop:
            raise UserError(
                f"{message}. DINO.STOP_ON_COLLAPSE False would go on; DINO.COLLAPSE_GRACE "
                f"({self.grace}) is the number of iterations that are not looked at"
            )
        logger.error(message)
