"""SOLVER.SCHED by name: a project's schedule in the trainer, with FastReID's warm-up before it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from fastreid.engine.train_loop import HookBase
from fastreid_compat.repairs.training.schedules import SCHEDULE_REGISTRY
from reid_common.errors import UserError
from reid_core.run.validation import validate_config
from small_trainer import ITERS_PER_EPOCH, SmallLoader, SmallTrainer, small_cfg
from torch.optim.lr_scheduler import ExponentialLR, LRScheduler


@pytest.fixture
def cfg(tmp_path: Path) -> Iterator:
    """Config with a schedule of our own, halving the rate each epoch; it refuses GAMMA 0."""

    def Halving(cfg, optimizer: torch.optim.Optimizer) -> LRScheduler:
        if cfg.SOLVER.GAMMA == 0:
            raise UserError("SOLVER.GAMMA is 0, which halves nothing")
        return ExponentialLR(optimizer, 0.5)

    SCHEDULE_REGISTRY.register(Halving)
    cfg = small_cfg(tmp_path / "logs")
    cfg.SOLVER.SCHED, cfg.SOLVER.BASE_LR, cfg.TEST.EVAL_PERIOD = "Halving", 0.08, 0
    yield cfg
    del SCHEDULE_REGISTRY._obj_map["Halving"]


class Rates(HookBase):
    """The rate of each step."""

    def __init__(self) -> None:
        self.rates: list[float] = []

    def before_step(self) -> None:
        self.rates.append(self.trainer.optimizer.param_groups[0]["lr"])


def rates_of(trainer: SmallTrainer) -> list[float]:
    rates = Rates()
    trainer.register_hooks([rates])
    trainer.train()
    return rates.rates


def test_the_trainer_steps_a_registered_schedule_once_an_epoch(cfg) -> None:
    trainer = SmallTrainer(cfg)
    assert set(trainer.scheduler) == {"lr_sched"}
    epochs = [0.08, 0.04, 0.02]
    assert rates_of(trainer) == pytest.approx([r for r in epochs for _ in range(ITERS_PER_EPOCH)])


def test_fastreids_warm_up_comes_before_it(cfg) -> None:
    cfg.SOLVER.WARMUP_ITERS, cfg.SOLVER.WARMUP_FACTOR = 3, 0.1
    rates = rates_of(SmallTrainer(cfg))
    # 0.1 + 0.9 * i / 3 of the base in the first epoch; then halved after each further epoch
    assert rates[:3] == pytest.approx([0.008, 0.032, 0.056])
    assert rates[3:] == pytest.approx([0.08 / 2] * 3 + [0.08 / 4] * 3)


def test_fastreids_schedules_stay(cfg) -> None:
    cfg.SOLVER.SCHED, cfg.SOLVER.STEPS, cfg.SOLVER.GAMMA = "MultiStepLR", [1, 2], 0.5
    epochs = [0.08, 0.04, 0.02]
    assert rates_of(SmallTrainer(cfg)) == pytest.approx([r for r in epochs for _ in range(3)])


def test_an_unknown_schedule_lists_the_known_ones(cfg) -> None:
    cfg.SOLVER.SCHED = "halving"
    message = r"SOLVER.SCHED: 'halving' is unknown. Did you mean 'Halving'\? .*CosineAnnealingLR"
    with pytest.raises(UserError, match=message):
        validate_config(cfg)


def test_what_a_schedule_refuses_is_refused_before_anything_is_built(cfg, monkeypatch) -> None:
    cfg.SOLVER.GAMMA = 0.0
    monkeypatch.setattr(SmallTrainer, "build_model", lambda *_: pytest.fail("built"))
    with pytest.raises(UserError, match=r"SOLVER\.GAMMA is 0"):
        SmallTrainer(cfg)
    validate_config(cfg, eval_only=True)  # an evaluation needs no schedule


def test_a_set_smaller_than_a_batch_is_refused(cfg, monkeypatch) -> None:
    monkeypatch.setattr(SmallTrainer, "build_train_loader", lambda *_: SmallLoader(num_images=3))
    with pytest.raises(UserError, match=r"fewer images than one batch, SOLVER.IMS_PER_BATCH = 4"):
        SmallTrainer(cfg)
