"""Resuming: a run killed at any time and resumed gives the weights of an uninterrupted one.

Checkpoints are written at the ends of epochs, so that a killed run repeats the epoch it was in.
With ``SEED`` >= 0 that epoch is a function of its number and of the weights before it alone:

- torch, numpy and random are reseeded from (SEED, rank, epoch) before every epoch, for dropout and
  drop path;
- the stream of batches is moved to where the epoch begins (:mod:`.reproducible`);
- optimizer, learning-rate schedules, gradient scaler and best result come from the checkpoint.

Results are bit-equal on a CPU; with CUDA, up to the order in which its kernels add.

With several processes the checkpoint holds rank 0's BatchNorm running statistics, and all ranks
resume with those; before, each had its own (``broadcast_buffers=False``). They are used in
evaluation only: training, and what rank 0 saves, are the same.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from fastreid.engine import defaults, train_loop
from fastreid.utils import comm

from ...registry import Original, fix, replaces, source_has
from ..loading.reproducible import restart_at


def epoch_seed(seed: int, rank: int, epoch: int) -> int:
    """Return the seed (0 .. 2**32 - 1) of one epoch in one process."""
    return int(np.random.SeedSequence([seed, rank, epoch]).generate_state(1)[0])


@fix(
    where="engine/train_loop.py:164",
    symptom="dropout and drop path of a resumed run differ from those of an uninterrupted one",
)
@replaces(train_loop.TrainerBase, "before_epoch", "self.storage.epoch = self.epoch")
def epochs_have_their_own_seed(original: Original, self: train_loop.TrainerBase) -> None:
    """Reseed before every epoch, where ``cfg.SEED`` is set."""
    seed = _config_seed(self)
    if seed >= 0:
        number = epoch_seed(seed, comm.get_rank(), self.epoch)
        torch.manual_seed(number)
        np.random.seed(number)
        random.seed(number)
    original(self)


def _config_seed(trainer: train_loop.TrainerBase) -> int:
    return getattr(trainer, "cfg", {}).get("SEED", -1)


@fix(
    where="engine/defaults.py:255",
    symptom="--resume trains on the first epochs' batches again, not on those that come next",
)
@replaces(defaults.DefaultTrainer, "resume_or_load", "self.start_epoch = checkpoint.get(")
def data_continues_on_resume(
    original: Original, self: defaults.DefaultTrainer, resume: bool = True
) -> None:
    """Move the stream of batches to the epoch that a resumed run starts with."""
    original(self, resume)
    if _config_seed(self) >= 0 and 0 < self.start_epoch < self.max_epoch:
        restart_at(self, self.start_epoch * self.iters_per_epoch)


@fix(
    where="engine/defaults.py:223",
    symptom="with AMP a resumed run starts from the initial gradient scale and skips steps again",
)
def scaler_is_saved() -> bool:
    """Save and restore the gradient scaler together with optimizer and schedules."""
    original = defaults.DefaultTrainer.__init__
    if not source_has(original, "self.checkpointer = Checkpointer("):
        return False

    def init(self: defaults.DefaultTrainer, cfg: Any) -> None:
        original(self, cfg)
        scaler = self.grad_scaler
        if scaler is not None and scaler.is_enabled():
            self.checkpointer.checkpointables.setdefault("grad_scaler", scaler)

    defaults.DefaultTrainer.__init__ = init
    return True
