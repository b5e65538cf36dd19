"""The trainer's hooks: evaluation, writers, profiler; and the modules' modes around evaluation."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from fastreid.engine import defaults, hooks
from fastreid.evaluation import evaluator
from fastreid.utils.events import CommonMetricPrinter, get_event_storage

from ...registry import Original, fix, replaces, source_has

logger = logging.getLogger(__name__)


@fix(
    where="engine/hooks.py:382",
    symptom="ZeroDivisionError with EVAL_PERIOD 0; an evaluation after a failed last epoch",
)
def evaluation_after_training() -> bool:
    """Evaluate at the end when the training finished and its last epoch was not evaluated yet.

    A period of 0 means no evaluation at all. A finished run that is resumed is evaluated again, so
    that ``train()`` returns the results.
    """
    if not source_has(hooks.EvalHook.after_train, "next_epoch % self._period != 0"):
        return False
    original = hooks.EvalHook._do_eval

    def do_eval(self: hooks.EvalHook) -> None:
        original(self)
        self._evaluated_epoch = self.trainer.epoch

    def after_train(self: hooks.EvalHook) -> None:
        done = getattr(self, "_evaluated_epoch", None) == self.trainer.epoch
        if self._period > 0 and getattr(self.trainer, "finished", True) and not done:
            self._do_eval()
        # The function is a closure over the trainer: without this the two would keep each other.
        del self._func

    hooks.EvalHook._do_eval = do_eval
    hooks.EvalHook.after_train = after_train
    return True


@fix(
    where="engine/defaults.py:318-323",
    symptom="an evaluation that fails loses the weights of its epoch, at the end those of the run",
)
def checkpoint_before_evaluation() -> bool:
    """Write the checkpoint that is due before the evaluation, and any if the evaluation fails.

    After the evaluation it is written again, with its result. Until then a run that is resumed
    starts from the checkpoint before it, so that it repeats the evaluation.
    """
    if not source_has(hooks.PeriodicCheckpointer.after_epoch, "self.step(self.trainer.epoch"):
        return False
    original_eval = hooks.EvalHook._do_eval
    original_save = hooks.PeriodicCheckpointer.after_epoch

    def do_eval(self: hooks.EvalHook) -> None:
        trainer: Any = self.trainer
        savers = [hook for hook in trainer._hooks if isinstance(hook, hooks.PeriodicCheckpointer)]
        paths = [save_untagged(saver, trainer.epoch) for saver in savers]
        try:
            original_eval(self)
        except Exception:
            if not any(paths):
                paths = [save_untagged(saver, trainer.epoch, due=False) for saver in savers]
            for path in filter(None, paths):
                logger.error("The evaluation failed; the weights of this epoch are in %s", path)
            raise

    def after_epoch(self: hooks.PeriodicCheckpointer) -> None:
        original_save(self)
        self.written_epoch = self.trainer.epoch

    hooks.EvalHook._do_eval = do_eval
    hooks.PeriodicCheckpointer.after_epoch = after_epoch
    return True


def save_untagged(owner: hooks.PeriodicCheckpointer, epoch: int, due: bool = True) -> str:
    """Write the checkpoint of an epoch under its name, without calling it the last one.

    Returns:
        Its path; "" where none was written: with ``due`` none is due, or the epoch has its already.
    """
    final = epoch >= owner.max_epoch - 1
    if getattr(owner, "written_epoch", -1) == epoch:
        return ""
    if due and not final and (epoch + 1) % owner.period:
        return ""
    checkpointer, name = owner.checkpointer, "model_final" if final else f"model_{epoch:04d}"
    best = max(owner.best_metric, getattr(checkpointer, "resumed_best_metric", -1))
    checkpointer.tag_last_checkpoint = lambda basename: None
    try:
        checkpointer.save(name, epoch=epoch, best_metric=best)
    finally:
        del checkpointer.tag_last_checkpoint
    return os.path.join(checkpointer.save_dir, f"{name}.pth")


@fix(
    where="engine/hooks.py:174-187",
    symptom="the last evaluation is in neither metrics.json nor TensorBoard",
)
def writers_see_the_last_evaluation() -> bool:
    """Write once at the end of an epoch, after the evaluation, and once more after training.

    The released hook writes after the last step and again after the epoch. The writers take an
    iteration as written after the first time, and the evaluation in between belongs to it.
    """
    if not source_has(hooks.PeriodicWriter.after_step, "self.trainer.max_iter - 1"):
        return False
    original_step = hooks.PeriodicWriter.after_step
    original_end = hooks.PeriodicWriter.after_train

    def after_step(self: hooks.PeriodicWriter) -> None:
        per_epoch = getattr(self.trainer, "iters_per_epoch", 0)
        if not per_epoch or (self.trainer.iter + 1) % per_epoch != 0:
            original_step(self)

    def after_train(self: hooks.PeriodicWriter) -> None:
        self.after_epoch()
        original_end(self)

    hooks.PeriodicWriter.after_step = after_step
    hooks.PeriodicWriter.after_train = after_train
    return True


@fix(
    where="utils/events.py:220",
    symptom="ZeroDivisionError in runs of one or two iterations",
)
@replaces(CommonMetricPrinter, "write", "iteration - self._last_write[0]")
def eta_of_short_runs(original: Original, self: CommonMetricPrinter) -> None:
    """Print no estimate of the remaining time when no iteration has passed since the last line."""
    if self._last_write is not None and self._last_write[0] == get_event_storage().iter:
        self._last_write = None
    original(self)


@fix(
    where="evaluation/evaluator.py:173-176",
    symptom="an evaluation during FREEZE_ITERS puts the frozen BatchNorm layers into training mode",
)
@replaces(evaluator, "inference_context", "model.train(training_mode)")
@contextmanager
def evaluation_restores_modes(_: Original, model: torch.nn.Module) -> Iterator[None]:
    """Give every module back the mode that it had before the evaluation, also after an error."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@fix(
    where="engine/hooks.py:204",
    symptom="IndexError: tuple index out of range in a training without test sets",
)
@replaces(hooks.PeriodicCheckpointer, "before_train", "DATASETS.TESTS[0]")
def checkpoints_without_test_sets(original: Original, self: hooks.PeriodicCheckpointer) -> None:
    """Let a run with ``DATASETS.TESTS ()`` write checkpoints, none of them the best."""
    if self.trainer.cfg.DATASETS.TESTS:
        original(self)
        return
    self.max_epoch = self.trainer.max_epoch
    self.metric_name = "metric"


@fix(
    where="engine/hooks.py:305",
    since="torch 2.6",
    symptom="TypeError: profile.__init__() got an unexpected keyword argument 'use_cuda'",
)
@replaces(hooks.AutogradProfiler, "before_step", "use_cuda=self._use_cuda")
def profiler_device(_: Original, self: Any) -> None:
    """Ask torch's profiler for CUDA by its present keyword, and only where there is CUDA."""
    self._profiler = None
    if self._enable_predicate(self.trainer):
        device = "cuda" if self._use_cuda and torch.cuda.is_available() else None
        self._profiler = torch.autograd.profiler.profile(use_device=device)
        self._profiler.__enter__()


@fix(
    where="engine/hooks.py:515, engine/defaults.py:489",
    symptom="AttributeError in the SWA hook: property of 'DefaultTrainer' object has no setter",
)
def optimizer_can_be_wrapped() -> bool:
    """Let ``trainer.optimizer = ...``, with which the SWA hook begins, reach the inner trainer.

    Checkpoints hold the wrapped optimizer as before, without SWA's averages.
    """
    released = defaults.DefaultTrainer.optimizer
    if not isinstance(released, property) or released.fset is not None:
        return False

    def set_optimizer(self: defaults.DefaultTrainer, optimizer: torch.optim.Optimizer) -> None:
        self._trainer.optimizer = optimizer

    defaults.DefaultTrainer.optimizer = released.setter(set_optimizer)
    return True
