"""The training loop: its beginning and end, mixed precision, and what the event storage takes."""

from __future__ import annotations

import logging
import math
import time
from typing import Any

import torch
from fastreid.engine import defaults, train_loop
from fastreid.solver import build
from fastreid.utils.events import EventStorage
from fastreid.utils.params import ContiguousParams

from .errors import UserError
from .fixes import fix, rebind, source_has

logger = logging.getLogger(__name__)


@fix(
    where="engine/train_loop.py:149-153, engine/hooks.py:380",
    since="always",
    symptom="--resume of a finished run: no attribute 'epoch'; a hook's error hides the real one",
)
def training_ends_as_it_should() -> bool:
    """Run the hooks' ``after_train`` so that they know, and show, what ended the training.

    ``trainer.finished`` tells hooks whether all epochs were done. After a failure an error in one
    of them is logged and the original exception comes through. A run that had finished before it
    was resumed has ``epoch`` set to its last one.
    """
    if not source_has(train_loop.TrainerBase.train, "finally:", "self.after_train()"):
        return False

    def train(
        self: train_loop.TrainerBase, start_epoch: int, max_epoch: int, iters_per_epoch: int
    ) -> None:
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
            except BaseException as error:
                if isinstance(error, Exception):
                    logger.exception("Exception during training:")
                _close_hooks(self)
                raise
            self.after_train()

    train_loop.TrainerBase.train = train
    return True


def _run_epoch(trainer: train_loop.TrainerBase, iters_per_epoch: int) -> None:
    trainer.before_epoch()
    for _ in range(iters_per_epoch):
        trainer.before_step()
        trainer.run_step()
        trainer.after_step()
        trainer.iter += 1
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
    since="always",
    symptom="AssertionError: No evaluation results obtained during training! with EVAL_PERIOD 0",
)
def training_without_evaluation() -> bool:
    """Return None from ``DefaultTrainer.train`` when nothing was to be evaluated."""
    original = defaults.DefaultTrainer.train
    if not source_has(original, "No evaluation results obtained"):
        return False

    def train(self: defaults.DefaultTrainer) -> Any:
        if self.cfg.TEST.EVAL_PERIOD <= 0 and not hasattr(self, "_last_eval_results"):
            self._last_eval_results = None
        return original(self)

    defaults.DefaultTrainer.train = train
    return True


@fix(
    where="engine/train_loop.py:325,335",
    since="always (CPU), torch 2.4 (torch.cuda.amp deprecated)",
    symptom="AssertionError: CUDA is required for AMP training!",
)
def mixed_precision_anywhere() -> bool:
    """Train with AMP on the model's device: float16 and a scaler with CUDA, bfloat16 without."""
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
        if grad_scaler is None:
            # bfloat16 has the exponent of float32: there is nothing to scale.
            grad_scaler = torch.amp.GradScaler("cuda", enabled=self.device_type == "cuda")
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

    dtype = torch.float16 if self.device_type == "cuda" else torch.bfloat16
    with torch.amp.autocast(self.device_type, dtype=dtype):
        loss_dict = self.model(data)
        losses = sum(loss_dict.values())

    self.optimizer.zero_grad()
    self.grad_scaler.scale(losses).backward()
    self._write_metrics(loss_dict, data_time)
    self.grad_scaler.step(self.optimizer)
    self.grad_scaler.update()
    if isinstance(self.param_wrapper, ContiguousParams):
        self.param_wrapper.assert_buffer_is_valid()


@fix(
    where="utils/events.py:304",
    since="numpy 2.4",
    symptom="TypeError: only 0-dimensional arrays can be converted to Python scalars",
)
def scalars_of_one_element() -> bool:
    """Take arrays and tensors with one element as scalars, whatever their number of dimensions."""
    original = EventStorage.put_scalar
    if not source_has(original, "value = float(value)"):
        return False

    def put_scalar(self: EventStorage, name: str, value: Any, smoothing_hint: bool = True) -> None:
        original(self, name, _as_float(value), smoothing_hint)

    EventStorage.put_scalar = put_scalar
    return True


def _as_float(value: Any) -> float:
    return float(value.item() if hasattr(value, "item") else value)


@fix(
    where="solver/build.py:314",
    since="always",
    symptom="ZeroDivisionError: fewer images than a batch; warm-up as long as a cosine schedule",
)
def schedule_fits_the_run() -> bool:
    """Refuse, before training, a run without iterations and a cosine schedule without epochs."""
    original = build.build_lr_scheduler
    if not source_has(original, "math.ceil(cfg.SOLVER.WARMUP_ITERS / iters_per_epoch)"):
        return False

    def build_lr_scheduler(cfg: Any, optimizer: Any, iters_per_epoch: int) -> Any:
        solver = cfg.SOLVER
        if iters_per_epoch < 1:
            raise UserError(
                f"the training set {tuple(cfg.DATASETS.NAMES)} has fewer images than one batch, "
                f"SOLVER.IMS_PER_BATCH = {solver.IMS_PER_BATCH}; lower it or use a larger set"
            )
        warmup = math.ceil(solver.WARMUP_ITERS / iters_per_epoch)
        if solver.SCHED.startswith("Cosine") and (
            max(warmup, solver.DELAY_EPOCHS) >= solver.MAX_EPOCH
        ):
            raise UserError(
                f"SOLVER.WARMUP_ITERS = {solver.WARMUP_ITERS} ({warmup} epochs of "
                f"{iters_per_epoch} iterations) and SOLVER.DELAY_EPOCHS = {solver.DELAY_EPOCHS} "
                f"leave none of SOLVER.MAX_EPOCH = {solver.MAX_EPOCH} epochs to the cosine "
                "schedule; lower them or train longer"
            )
        return original(cfg, optimizer, iters_per_epoch)

    rebind(original, build_lr_scheduler)
    return True


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
