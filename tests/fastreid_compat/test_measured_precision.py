"""SOLVER.AMP.DTYPE measured: decided once before step 1, and kept by a resumed run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from fastreid_compat.repairs.training import measured_precision
from fastreid_compat.repairs.training.measured_precision import RECORD
from reid_core.run.validation import validate_config
from small_trainer import ITERS_PER_EPOCH, KillAt, Killed, SmallTrainer, small_cfg
from torch import nn


@pytest.fixture
def cfg(tmp_path: Path):
    cfg = small_cfg(tmp_path / "logs")
    cfg.SOLVER.AMP.ENABLED, cfg.SOLVER.AMP.DTYPE = True, "measured"
    return cfg


def machine(monkeypatch: pytest.MonkeyPatch, bf16: float, fp32: float = 1.0) -> list[str]:
    """A machine where the products take so many seconds; the decisions that are made on it."""
    made: list[str] = []

    def step(shape, dtype):
        return dtype

    def timed(dtype):
        return lambda: {"seconds": bf16 if dtype is torch.bfloat16 else fp32}

    decide = measured_precision._decide

    def counted(model):
        found = decide(model)
        made.append(found["dtype"])
        return found

    monkeypatch.setattr(measured_precision, "_step", step)
    monkeypatch.setattr(measured_precision, "timed", timed)
    monkeypatch.setattr(measured_precision, "_decide", counted)
    return made


@pytest.mark.parametrize("seconds, dtype", [(0.5, torch.bfloat16), (0.95, None), (20.0, None)])
def test_bfloat16_where_it_pays(cfg, monkeypatch, seconds, dtype) -> None:
    with monkeypatch.context() as patch:
        machine(patch, seconds)
        validate_config(cfg)
        trainer = SmallTrainer(cfg)
    assert trainer._trainer.dtype is dtype and not trainer.grad_scaler.is_enabled()
    kept = json.loads((Path(cfg.OUTPUT_DIR) / RECORD).read_text())
    assert kept["dtype"] == ("fp32" if dtype is None else "bf16")
    trainer.train()


def test_a_resumed_run_keeps_the_decision(cfg, monkeypatch) -> None:
    """Even where another machine, or a busy hour, would decide otherwise."""
    with monkeypatch.context() as patch:
        machine(patch, bf16=0.5)
        killed = SmallTrainer(cfg)
        killed.register_hooks([KillAt(ITERS_PER_EPOCH)])
        with pytest.raises(Killed):
            killed.train()
    with monkeypatch.context() as patch:
        made = machine(patch, bf16=9.0)
        resumed = SmallTrainer(cfg)
        resumed.resume_or_load(resume=True)
        assert resumed._trainer.dtype is torch.bfloat16 and made == []
        # Without a checkpoint there is no run whose decision could count.
        (Path(cfg.OUTPUT_DIR) / "last_checkpoint").unlink()
        assert SmallTrainer(cfg)._trainer.dtype is None and made == ["fp32"]


def test_a_real_measurement_draws_no_random_number() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, groups=8), nn.Linear(8, 16))
    shapes = dict(measured_precision._shapes(model))
    assert shapes == {(8, 3, 3, 3): 1, (16, 8): 1}, "no convolution with groups"
    before = torch.get_rng_state()
    decision = measured_precision._decide(model)
    assert torch.equal(torch.get_rng_state(), before)
    assert decision["dtype"] in ("fp32", "bf16")
    assert decision["float32_seconds"] > 0 and decision["bfloat16_seconds"] > 0
