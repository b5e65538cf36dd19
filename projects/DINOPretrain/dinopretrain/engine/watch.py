"""What can go wrong in pre-training, watched: collapse, of whatever kinds a method has."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from fastreid.engine.train_loop import HookBase
from reid_common.errors import UserError

logger = logging.getLogger(__name__)


class CollapseWatch(HookBase):
    """Looks at the second half of each epoch for collapse, says it, and can stop the run.

    Args:
        method: says which metrics show it, and judges them.
        stop: raise UserError; False only logs, once an epoch.
        grace: iterations at the start of the training that are not looked at.
    """

    def __init__(self, method: Any, stop: bool, grace: int) -> None:
        self.method, self.stop, self.grace = method, stop, grace
        self._seen: list[list[float]] = []

    def before_epoch(self) -> None:
        """Forget the epoch before."""
        self._seen.clear()

    def after_step(self) -> None:
        """Take up the step's metrics, in the second half of an epoch."""
        trainer, per_epoch = self.trainer, self.trainer.iters_per_epoch
        first_half = trainer.iter % per_epoch < per_epoch // 2
        if trainer.iter >= self.grace and not first_half and not trainer._trainer.skipped:
            latest = trainer.storage.latest()
            self._seen.append([float(np.ravel(latest[name])[0]) for name in self.method.watched])

    def after_epoch(self) -> None:
        """Judge the epoch; raises UserError where it collapsed, if ``stop``."""
        if not self._seen:
            return
        means = dict(zip(self.method.watched, np.mean(self._seen, axis=0).tolist(), strict=True))
        found = self.method.collapse(means)
        if found is None:
            return
        kind, remedy = found
        values = ", ".join(f"{name} {value:.3f}" for name, value in means.items())
        message = (
            f"{type(self.method).__name__} has collapsed ({kind}) in epoch {self.trainer.epoch}: "
            f"{remedy}. Means over its second half: {values}"
        )
        if self.stop:
            raise UserError(
                f"{message}. DINO.STOP_ON_COLLAPSE False would go on; DINO.COLLAPSE_GRACE "
                f"({self.grace}) is the number of iterations that are not looked at"
            )
        logger.error(message)
