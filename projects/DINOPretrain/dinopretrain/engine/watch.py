"""What can go wrong in pre-training, watched: collapse, of whatever kinds a method has."""

from __future__ import annotations

import itertools
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

    def after_epoch(self) -> None:
        """Judge the epoch; raises UserError where it collapsed, if ``stop``."""
        seen = {name: self._of_second_half(name) for name in self.method.watched}
        if not all(seen.values()):
            return  # too early, or all steps were skipped
        means = {name: float(np.mean(values)) for name, values in seen.items()}
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

    def _of_second_half(self, name: str) -> list[float]:
        """Values of a metric in the second half of this epoch, after the grace."""
        trainer, per_epoch = self.trainer, self.trainer.iters_per_epoch
        first = max(self.grace, trainer.epoch * per_epoch + per_epoch // 2)
        history = trainer.storage.histories().get(name)
        newest_first = reversed(history.values()) if history is not None else []
        return [v for v, _ in itertools.takewhile(lambda pair: pair[1] >= first, newest_first)]
