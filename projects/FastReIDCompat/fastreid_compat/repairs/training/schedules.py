"""Learning rate schedules by name, and runs that leave a schedule nothing to do.

``SOLVER.SCHED`` names one of FastReID's two schedules or whatever a project has put into
:data:`SCHEDULE_REGISTRY`.
"""

from __future__ import annotations

import logging
import math
from typing import Any

import torch
from fastreid.config import CfgNode
from fastreid.solver import build, lr_scheduler
from fastreid.utils.registry import Registry
from reid_common.errors import UserError
from torch.optim.lr_scheduler import LRScheduler

from ...registry import Original, fix, replaces

logger = logging.getLogger(__name__)

# Learning rate schedules of projects: (cfg, optimizer) -> LRScheduler. It is stepped after each
# epoch, so that ``last_epoch`` is the 0-based number of the epoch that is trained. With
# SOLVER.WARMUP_ITERS > 0 FastReID warms up by iterations and steps it only when that is over; a
# schedule with a warm-up of its own refuses that key. Building one raises UserError where the
# config cannot work: runs are refused that way before they start.
SCHEDULE_REGISTRY = Registry("SCHEDULE")


@fix(
    where="solver/build.py:314",
    symptom="ZeroDivisionError: fewer images than a batch; warm-up as long as a cosine schedule",
)
@replaces(build, "build_lr_scheduler", "math.ceil(cfg.SOLVER.WARMUP_ITERS / iters_per_epoch)")
def schedule_fits_the_run(
    original: Original, cfg: CfgNode, optimizer: Any, iters_per_epoch: int
) -> dict[str, Any]:
    """Refuse, before training, a run without iterations and a cosine schedule without epochs."""
    _check_iterations(cfg, iters_per_epoch)
    solver = cfg.SOLVER
    warmup = math.ceil(solver.WARMUP_ITERS / iters_per_epoch)
    if solver.SCHED.startswith("Cosine") and (max(warmup, solver.DELAY_EPOCHS) >= solver.MAX_EPOCH):
        raise UserError(
            f"SOLVER.WARMUP_ITERS = {solver.WARMUP_ITERS} ({warmup} epochs of "
            f"{iters_per_epoch} iterations) and SOLVER.DELAY_EPOCHS = {solver.DELAY_EPOCHS} "
            f"leave none of SOLVER.MAX_EPOCH = {solver.MAX_EPOCH} epochs to the cosine "
            "schedule; lower them or train longer"
        )
    return original(cfg, optimizer, iters_per_epoch)


def _check_iterations(cfg: CfgNode, iters_per_epoch: int) -> None:
    if iters_per_epoch < 1:
        raise UserError(
            f"the training set {tuple(cfg.DATASETS.NAMES)} has fewer images than one batch, "
            f"SOLVER.IMS_PER_BATCH = {cfg.SOLVER.IMS_PER_BATCH}; lower it or use a larger set"
        )
    iterations = cfg.SOLVER.MAX_EPOCH * iters_per_epoch
    if iterations < cfg.SOLVER.WARMUP_ITERS:
        logger.warning(
            "SOLVER.WARMUP_ITERS is %d, more than the %d iterations of the run: SOLVER.BASE_LR is "
            "never reached; lower it or train longer",
            cfg.SOLVER.WARMUP_ITERS,
            iterations,
        )


@fix(
    where="solver/build.py:320-335",
    symptom="SOLVER.SCHED takes two names; any other is a KeyError after the model is built",
)
@replaces(build, "build_lr_scheduler", "scheduler_args[cfg.SOLVER.SCHED]")
def schedules_by_name(
    original: Original, cfg: CfgNode, optimizer: Any, iters_per_epoch: int
) -> dict[str, Any]:
    """Find SOLVER.SCHED in :data:`SCHEDULE_REGISTRY` where it is none of FastReID's schedules."""
    if cfg.SOLVER.SCHED not in SCHEDULE_REGISTRY._obj_map:
        return original(cfg, optimizer, iters_per_epoch)
    _check_iterations(cfg, iters_per_epoch)
    schedules = {"lr_sched": build_schedule(cfg, optimizer)}
    if cfg.SOLVER.WARMUP_ITERS > 0:
        schedules["warmup_sched"] = lr_scheduler.WarmupLR(
            optimizer,
            warmup_factor=cfg.SOLVER.WARMUP_FACTOR,
            warmup_iters=cfg.SOLVER.WARMUP_ITERS,
            warmup_method=cfg.SOLVER.WARMUP_METHOD,
        )
    return schedules


def build_schedule(cfg: CfgNode, optimizer: torch.optim.Optimizer) -> LRScheduler:
    """Build the registered schedule SOLVER.SCHED on ``optimizer``."""
    return SCHEDULE_REGISTRY.get(cfg.SOLVER.SCHED)(cfg, optimizer)


def check_schedule(cfg: CfgNode) -> None:
    """Raise UserError where the registered schedule SOLVER.SCHED refuses the config.

    It is tried on an optimizer of its own; nothing happens for FastReID's schedules, which cannot
    be judged before the number of iterations is known.
    """
    if cfg.SOLVER.SCHED in SCHEDULE_REGISTRY._obj_map:
        parameter = torch.nn.Parameter(torch.zeros(1))
        build_schedule(cfg, torch.optim.SGD([parameter], lr=cfg.SOLVER.BASE_LR))
