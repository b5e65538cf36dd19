"""WarmupCosineLR: the released learning rates, through the real trainer, resumed and refused."""

from __future__ import annotations

import contextlib
import json
import math
from pathlib import Path

import pytest
import torch
from fastreid.engine.train_loop import HookBase
from fastreid_compat.repairs.training.schedules import build_schedule, check_schedule
from reid_common.errors import UserError
from small_trainer import ITERS_PER_EPOCH, KillAt, Killed, SmallTrainer, small_cfg
from small_transreid import train_in
from timm.scheduler import CosineLRScheduler
from transreid import add_transreid_config
from transreid.solver.schedule import WarmupCosineLR, warmup_cosine

BASE = 0.008


@pytest.fixture
def cfg(tmp_path: Path):
    cfg = small_cfg(tmp_path / "logs")
    add_transreid_config(cfg)
    solver = cfg.SOLVER
    solver.SCHED, solver.OPT, solver.BASE_LR = "WarmupCosineLR", "SGD", BASE
    solver.BIAS_LR_FACTOR, solver.WARMUP_FACTOR, solver.MAX_EPOCH = 2.0, 0.01, 120
    solver.CHECKPOINT_PERIOD, cfg.TEST.EVAL_PERIOD, cfg.SEED = 1000, 0, 1
    return cfg


class Rates(HookBase):
    """Collects the rates of all groups in every step: one list an epoch, 1-based."""

    def __init__(self) -> None:
        self.of_epoch: dict[int, list[float]] = {}

    def before_step(self) -> None:
        rates = [group["lr"] for group in self.trainer.optimizer.param_groups]
        assert self.of_epoch.setdefault(self.trainer.epoch + 1, rates) == rates


def train(cfg, *hooks: HookBase, resume: bool = False) -> tuple[SmallTrainer, dict]:
    torch.manual_seed(0)
    trainer, rates = SmallTrainer(cfg), Rates()
    trainer.resume_or_load(resume)
    trainer.register_hooks([rates, *hooks])
    with contextlib.suppress(Killed):
        trainer.train()
    return trainer, rates.of_epoch


def timm_rates(base: float, warmup_epochs: int) -> list[float]:
    """Rates of epochs 1..120 of one group, as the released code calls timm's scheduler."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=base)
    scheduler = CosineLRScheduler(
        optimizer,
        t_initial=120,
        lr_min=0.002 * BASE,
        warmup_t=warmup_epochs,
        warmup_lr_init=0.01 * BASE,
    )
    rates = []
    for epoch in range(1, 121):
        scheduler.step(epoch)
        rates.append(optimizer.param_groups[0]["lr"])
    return rates


@pytest.mark.parametrize("warmup_epochs", [5, 20])
def test_the_trainer_follows_the_released_rates(cfg, warmup_epochs: int) -> None:
    cfg.SOLVER.WARMUP_EPOCHS = warmup_epochs
    trainer, rates = train(cfg)
    initial = [group["initial_lr"] for group in trainer.optimizer.param_groups]
    assert sorted(initial) == [BASE, 2 * BASE]
    assert list(rates) == list(range(1, 121))
    for group, base in enumerate(initial):
        seen = [rates[epoch][group] for epoch in range(1, 121)]
        assert seen == pytest.approx(timm_rates(base, warmup_epochs), rel=1e-12)
        start, end = 0.01 * BASE, 0.002 * BASE
        for epoch, rate in enumerate(seen, start=1):
            if epoch < warmup_epochs:
                expected = start + epoch * (base - start) / warmup_epochs
            else:
                expected = end + (base - end) * (1 + math.cos(math.pi * epoch / 120)) / 2
            assert rate == pytest.approx(expected, rel=1e-12), epoch


def test_figures_of_market1501() -> None:
    """By hand, base 0.008: warm-up from 0.00008, 5 epochs; half way of the cosine; its end."""
    kwargs = {"max_epoch": 120, "warmup_epochs": 5, "warmup_lr": 0.00008, "min_lr": 0.000016}
    assert warmup_cosine(1, 0.008, **kwargs) == pytest.approx(0.001664)  # 0.00008 + 0.00792 / 5
    assert warmup_cosine(60, 0.008, **kwargs) == pytest.approx(0.004008)  # (0.008 + 0.000016) / 2
    assert warmup_cosine(60, 0.016, **kwargs) == pytest.approx(0.008008)  # biases: same end
    # The warm-up ends on the cosine, not on the base rate: (1 + cos(pi / 24)) / 2 = 0.995722
    assert warmup_cosine(5, 0.008, **kwargs) == pytest.approx(0.000016 + 0.007984 * 0.995722)
    assert warmup_cosine(120, 0.008, **kwargs) == 0.000016
    assert warmup_cosine(200, 0.008, **kwargs) == 0.000016
    assert warmup_cosine(1, 0.008, **{**kwargs, "warmup_epochs": 0}) < 0.008


def test_the_rate_is_logged(cfg) -> None:
    cfg.SOLVER.MAX_EPOCH = 6
    trainer, rates = train(cfg)
    text = (Path(cfg.OUTPUT_DIR) / "metrics.json").read_text().splitlines()
    rows = [row for row in map(json.loads, text) if "lr" in row]
    logged = {row["iteration"] // ITERS_PER_EPOCH + 1: row["lr"] for row in rows}
    group = [g["initial_lr"] for g in trainer.optimizer.param_groups].index(BASE)
    assert logged == {epoch: rates[epoch][group] for epoch in logged}
    assert len(logged) == 6


@pytest.mark.parametrize("kill_at", [2 * ITERS_PER_EPOCH, 7 * ITERS_PER_EPOCH + 1])
def test_a_resumed_run_has_the_rates_of_an_uninterrupted_one(cfg, tmp_path, kill_at: int) -> None:
    cfg.SOLVER.MAX_EPOCH, cfg.SOLVER.CHECKPOINT_PERIOD = 10, 1
    _, expected = train(cfg)
    cfg.OUTPUT_DIR = str(tmp_path / "killed")
    train(cfg, KillAt(kill_at))
    _, rates = train(cfg, resume=True)
    first = kill_at // ITERS_PER_EPOCH + 1
    assert rates == {epoch: expected[epoch] for epoch in range(first, 11)}


def test_the_whole_recipe_killed_and_resumed_equals_uninterrupted(transreid_cfg, tmp_path) -> None:
    """Schedule, augmentation and optimizer of the released recipe, on images."""
    cfg = transreid_cfg
    cfg.INPUT.TRANSFORM = "TransReID"
    cfg.INPUT.FLIP.ENABLED = cfg.INPUT.PADDING.ENABLED = cfg.INPUT.REA.ENABLED = True
    cfg.SOLVER.SCHED, cfg.SOLVER.OPT, cfg.SOLVER.BIAS_LR_FACTOR = "WarmupCosineLR", "SGD", 2.0
    cfg.SOLVER.MAX_EPOCH, cfg.SOLVER.WARMUP_EPOCHS, cfg.TEST.EVAL_PERIOD = 3, 2, 0
    cfg.MODEL.SIE.NUM_CAMERAS = 3

    whole = train_in(cfg, tmp_path / "whole").model.state_dict()
    killed = tmp_path / "killed"
    train_in(cfg, killed, KillAt(4))  # in the second epoch of 3 iterations
    for name, value in train_in(cfg, killed, resume=True).model.state_dict().items():
        assert torch.equal(value, whole[name]), name


def test_a_longer_run_takes_up_its_own_cosine(cfg) -> None:
    """The config decides, not the length that a checkpoint was made with."""
    cfg.SOLVER.MAX_EPOCH, cfg.SOLVER.CHECKPOINT_PERIOD = 8, 1
    train(cfg)
    cfg.SOLVER.MAX_EPOCH = 16
    trainer, rates = train(cfg, resume=True)
    group = [g["initial_lr"] for g in trainer.optimizer.param_groups].index(BASE)
    end = 0.002 * BASE
    expected = {e: end + (BASE - end) * (1 + math.cos(math.pi * e / 16)) / 2 for e in range(9, 17)}
    assert {e: r[group] for e, r in rates.items()} == pytest.approx(expected)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("WARMUP_ITERS", 10, "WARMUP_ITERS is 10.*SOLVER.WARMUP_EPOCHS; set SOLVER.WARMUP_ITERS 0"),
        ("DELAY_EPOCHS", 3, "DELAY_EPOCHS is 3.*set SOLVER.DELAY_EPOCHS 0"),
        ("WARMUP_METHOD", "exp", "WARMUP_METHOD is 'exp'.*set SOLVER.WARMUP_METHOD linear"),
        ("WARMUP_EPOCHS", 120, "WARMUP_EPOCHS is 120, .*less than SOLVER.MAX_EPOCH, 120"),
        ("WARMUP_EPOCHS", -1, "WARMUP_EPOCHS is -1"),
    ],
)
def test_what_the_schedule_cannot_follow_is_refused(cfg, key: str, value, message: str) -> None:
    cfg.SOLVER[key] = value
    with pytest.raises(UserError, match=message):
        check_schedule(cfg)
    with pytest.raises(UserError, match=message):
        SmallTrainer(cfg)


def test_built_with_keywords_as_well() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = WarmupCosineLR(optimizer, max_epoch=4, warmup_epochs=2, warmup_lr=0.1, min_lr=0.0)
    rates = []
    for _ in range(4):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    # 0.1 + 0.9 / 2; then (1 + cos(pi * e / 4)) / 2 for e = 2, 3, 4
    assert rates == pytest.approx([0.55, 0.5, 0.5 * (1 - math.sqrt(0.5)), 0.0])


def test_the_config_names_the_schedule(cfg) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=BASE)
    schedule = build_schedule(cfg, optimizer)
    assert isinstance(schedule, WarmupCosineLR)
    assert schedule.get_last_lr() == pytest.approx([0.001664])
