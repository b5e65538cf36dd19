"""Counts what makes a host wait for its GPU in whole steps of a trainer."""

from __future__ import annotations

import itertools
from collections import Counter
from contextlib import ExitStack
from typing import Any

from reid_commands.benchmarks.operators import Operators, counted

__all__ = ["CountSteps", "counted"]


class CountSteps:
    """Gives ``operators`` of each whole step of a trainer, from its first hook to its last.

    Batches are loaded before the training: what a loader does is the host's own.
    """

    def __init__(self, trainer: Any, num_batches: int) -> None:
        self.steps: list[Operators] = []
        step = getattr(trainer, "_trainer", trainer)
        batches = list(itertools.islice(step._data_loader_iter, num_batches))
        step._data_loader_iter = itertools.cycle(batches)
        self._before, self._after = trainer.before_step, trainer.after_step
        trainer.before_step, trainer.after_step = self._enter, self._leave
        self._open = ExitStack()

    def _enter(self) -> None:
        self.steps.append(self._open.enter_context(counted()))
        self._before()

    def _leave(self) -> None:
        self._after()
        self._open.close()

    def waits(self) -> Counter[str]:
        """Operators that wait, in all steps together."""
        return sum((step.waits for step in self.steps), Counter())

    def operators(self) -> int:
        """Operators of the last step."""
        return sum(self.steps[-1].all.values())
