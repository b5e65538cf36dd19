"""The training loop: its beginning and end, and what the event storage takes."""

from __future__ import annotations

import logging
from typing import Any

import torch
from fastreid.engine import defaults, train_loop
from fastreid.utils.events import EventStorage

from ...registry import Original, fix, replaces
from .finite_loss import explained
from .metrics import PERIOD, read_metrics

logger = logging.getLogger(__name__)


@fix(
    where="engine/train_loop.py:149-153, engine/hooks.py:380",
    symptom="--resume of a finished run: no attribute 'epoch'; a hook's error hides the real one",
)
@replaces(train_loop.TrainerBase, "train", "finally:", "self.after_train()")
def training_ends_as_it_should(
    _: Original,
    self: train_loop.TrainerBase,
    start_epoch: int,
    max_epoch: int,
    iters_per_epoch: int,
) -> None:
    """Run the hooks' ``after_train`` so that they know, and show, what ended the training.

    ``trainer.finished`` tells hooks whether all epochs were done. After a failure an error in one
    of them is logged and the original exception comes through. A run that had finished before it
    was resumed has ``epoch`` set to its last one.
    """
    self.iter = self.start_iter = start_epoch * iters_per_epoch
    self.epoch = min(start_epoch, max_epoch - 1)
    self.finished = False
    if start_epoch >= max_epoch:
        logger.info("All %d epochs of this run were done before; nothing to train", max_epoch)
    else:
        logger.info("Starting training from epoch %d", start_epoch)
    with EventStorage(self.start_iter) as self.storage:
        self.storage.epoch = self.epoch
        try:
            self.before_train()
            for self.epoch in range(start_epoch, max_epoch):
                _run_epoch(self, iters_per_epoch)
            self.finished = True
        except BaseException as raised:
            if isinstance(raised, Exception):
                logger.exception("Exception during training:")
            _close_hooks(self)
            error = explained(raised, self)
            if error is raised:
                raise
            raise error from raised
        self.after_train()


def _run_epoch(trainer: train_loop.TrainerBase, iters_per_epoch: int) -> None:
    trainer.before_epoch()
    for _ in range(iters_per_epoch):
        trainer.before_step()
        trainer.run_step()
        if (trainer.iter + 1) % PERIOD == 0:
            read_metrics(trainer.storage)
        trainer.after_step()
        trainer.iter += 1
    read_metrics(trainer.storage)  # before hooks write a checkpoint of what has diverged
    trainer.after_epoch()


def _close_hooks(trainer: train_loop.TrainerBase) -> None:
    """Call ``after_train`` of every hook after a failure; none of them can stop the others."""
    trainer.storage.iter = trainer.iter
    for hook in trainer._hooks:
        try:
            hook.after_train()
        except Exception:
            logger.exception("%s.after_train failed as well", type(hook).__name__)


@fix(
    where="engine/defaults.py:350",
    symptom="AssertionError: No evaluation results obtained during training! with EVAL_PERIOD 0",
)
@replaces(defaults.DefaultTrainer, "train", "No evaluation results obtained")
def training_without_evaluation(original: Original, self: defaults.DefaultTrainer) -> Any:
    """Return None from ``DefaultTrainer.train`` when nothing was to be evaluated."""
    if self.cfg.TEST.EVAL_PERIOD <= 0 and not hasattr(self, "_last_eval_results"):
        self._last_eval_results = None
    return original(self)


@fix(
    where="utils/events.py:304",
    since="numpy 2.4",
    symptom="TypeError: only 0-dimensional arrays can be converted to Python scalars",
)
@replaces(EventStorage, "put_scalar", "value = float(value)")
def scalars_of_one_element(
    original: Original, self: EventStorage, name: str, value: Any, smoothing_hint: bool = True
) -> None:
    """Take arrays and tensors with one element as scalars, whatever their number of dimensions."""
    if hasattr(value, "item") and not isinstance(value, torch.Tensor):
        value = value.item()
    original(self, name, value, smoothing_hint)  # which leaves tensors on their device


@fix(
    where="engine/defaults.py:434",
    since="a Python without Logger.warn, deprecated since 3.3",
    symptom="AttributeError: 'Logger' object has no attribute 'warn'",
)
def logger_warn() -> bool:
    """Give the one logger whose ``warn`` is called an alias, where Python has none any more."""
    if hasattr(logging.Logger, "warn"):
        return False
    target = logging.getLogger(defaults.__name__)
    target.warn = target.warning  # type: ignore[method-assign]
    return True
