"""SOLVER.AMP.DTYPE: which type, with a scaler or without, what is refused, and resuming."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from fastreid_compat.repairs.training import mixed_precision
from fastreid_compat.repairs.training.fused import use_fused
from fastreid_compat.repairs.training.mixed_precision import amp_dtype, check_amp
from reid_common.errors import UserError
from reid_core.run.validation import validate_config
from small_trainer import ITERS_PER_EPOCH, KillAt, Killed, SmallTrainer, small_cfg, weights


@pytest.fixture(autouse=True)
def bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor that has bfloat16, and an older GPU, whatever the tests run on."""
    monkeypatch.setattr(mixed_precision, "cpu_has_bf16", lambda: True)
    monkeypatch.setattr(mixed_precision, "cuda_has_bf16", lambda: False)


@pytest.fixture
def cfg(tmp_path: Path):
    cfg = small_cfg(tmp_path / "logs")
    cfg.SOLVER.AMP.ENABLED = True
    return cfg


def types_seen(trainer: SmallTrainer) -> set[tuple[bool, torch.dtype]]:
    """(training, dtype) of the outputs of the model's last layer, filled as the model runs."""
    seen: set[tuple[bool, torch.dtype]] = set()
    trainer.model.heads.register_forward_hook(
        lambda module, inputs, out: seen.add((module.training, out.dtype))
    )
    return seen


@pytest.mark.parametrize(
    "name, dtype", [("auto", torch.bfloat16), ("bf16", torch.bfloat16), ("fp16", torch.float16)]
)
def test_training_in_each_type(cfg, name: str, dtype: torch.dtype) -> None:
    cfg.SOLVER.AMP.DTYPE = name
    trainer = SmallTrainer(cfg)
    seen, before = types_seen(trainer), weights(trainer)
    trainer.train()
    assert seen == {(True, dtype)}
    assert trainer.grad_scaler.is_enabled() == (dtype is torch.float16)
    assert all(not torch.equal(before[key], value) for key, value in weights(trainer).items())


def test_evaluation_stays_float32(cfg) -> None:
    cfg.SOLVER.AMP.DTYPE = "fp16"
    trainer = SmallTrainer(cfg)
    seen = types_seen(trainer)
    batch = next(iter(trainer.build_train_loader(cfg)))

    def evaluate(cfg, model):
        model.eval()(batch)
        model.train()
        return {"mAP": 1.0, "metric": 1.0}

    trainer.test = evaluate
    trainer.train()
    assert seen == {(True, torch.float16), (False, torch.float32)}


def test_fp16_resumes_with_its_scale(cfg) -> None:
    cfg.SOLVER.AMP.DTYPE = "fp16"
    killed = SmallTrainer(cfg)
    killed.grad_scaler.set_growth_interval(1)  # twice the scale after every step
    killed.register_hooks([KillAt(ITERS_PER_EPOCH)])
    with pytest.raises(Killed):
        killed.train()
    scale = killed.grad_scaler.get_scale()
    resumed = SmallTrainer(cfg)
    assert resumed.grad_scaler.get_scale() != scale
    resumed.resume_or_load(resume=True)
    assert resumed.grad_scaler.get_scale() == scale


def test_the_choice_ends_with_the_trainer(cfg) -> None:
    """A config without the key's value, after one with it, has its own again."""
    cfg.SOLVER.AMP.DTYPE = "fp16"
    assert SmallTrainer(cfg)._trainer.dtype is torch.float16
    cfg.SOLVER.AMP.DTYPE = "auto"
    assert SmallTrainer(cfg)._trainer.dtype is torch.bfloat16


def test_types_by_device(monkeypatch: pytest.MonkeyPatch) -> None:
    assert amp_dtype("auto", "cuda") is torch.float16
    monkeypatch.setattr(mixed_precision, "cuda_has_bf16", lambda: True)
    assert amp_dtype("auto", "cuda") is torch.bfloat16
    assert amp_dtype("fp16", "cuda") is torch.float16
    assert amp_dtype("auto", "cpu") is torch.bfloat16
    assert amp_dtype("bf16", "cuda") is torch.bfloat16


def test_a_processor_without_bf16_trains_in_float32(cfg, monkeypatch, caplog) -> None:
    """Emulated bfloat16 is up to 60 times slower than float32."""
    monkeypatch.setattr(mixed_precision, "cpu_has_bf16", lambda: False)
    mixed_precision._say.cache_clear()
    assert amp_dtype("auto", "cpu") is None and amp_dtype("auto", "cuda") is torch.float16
    trainer = SmallTrainer(cfg)
    seen = types_seen(trainer)
    trainer.train()
    assert seen == {(True, torch.float32)} and not trainer.grad_scaler.is_enabled()
    assert "does not multiply in bfloat16; training in float32" in caplog.text
    cfg.SOLVER.AMP.DTYPE = "bf16"  # what is asked for by name is done
    trainer = SmallTrainer(cfg)
    seen = types_seen(trainer)
    trainer.train()
    assert seen == {(True, torch.bfloat16)}
    assert "SOLVER.AMP.DTYPE bf16 is slow on this processor" in caplog.text


def test_an_unknown_type_is_refused_before_training(cfg) -> None:
    cfg.SOLVER.AMP.DTYPE = "float16"
    message = r"SOLVER\.AMP\.DTYPE: 'float16' is unknown\. .*Known: auto, bf16, fp16"
    with pytest.raises(UserError, match=message):
        SmallTrainer(cfg)
    with pytest.raises(UserError, match=message):
        validate_config(cfg)
    validate_config(cfg, eval_only=True)  # evaluation does not read the key


def test_bf16_needs_a_gpu_that_has_it(cfg, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg.MODEL.DEVICE, cfg.SOLVER.AMP.DTYPE = "cuda", "bf16"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla V100")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 0))
    with pytest.raises(UserError, match=r"Tesla V100.*7\.0.*Set SOLVER\.AMP\.DTYPE to fp16"):
        check_amp(cfg)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    check_amp(cfg)


def test_a_step_with_a_scaler_clips_what_is_no_longer_scaled(cfg) -> None:
    """A fused optimizer, which unscales by itself, would clip gradients times 65536."""
    cfg.SOLVER.AMP.DTYPE, cfg.SOLVER.OPT = "fp16", "SGD"
    cfg.SOLVER.CLIP_GRADIENTS.ENABLED, cfg.SOLVER.CLIP_GRADIENTS.CLIP_VALUE = True, 1e3
    start, moved = SmallTrainer(cfg).model.state_dict(), []
    for clip in (True, False):
        cfg.SOLVER.CLIP_GRADIENTS.ENABLED = clip
        trainer = SmallTrainer(cfg)
        trainer.model.load_state_dict(start)
        assert use_fused(trainer.optimizer, ("cpu",))
        torch.manual_seed(0)
        trainer.train()
        moved.append(weights(trainer))
    for name, value in moved[0].items():
        torch.testing.assert_close(value, moved[1][name])
        assert not torch.equal(value, start[name])


def test_a_warm_up_goes_on_where_the_scaler_skips(cfg) -> None:
    cfg.SOLVER.AMP.DTYPE, cfg.SOLVER.WARMUP_ITERS = "fp16", 4
    trainer = SmallTrainer(cfg)
    trainer.grad_scaler._init_scale = 2.0**60  # overflows
    rates = []
    after_step = trainer.after_step
    trainer.after_step = lambda: (
        after_step(),
        rates.append(trainer.optimizer.param_groups[0]["lr"]),
    )
    trainer.train()
    assert rates[:4] == sorted(set(rates[:4])) and rates[3] == pytest.approx(cfg.SOLVER.BASE_LR)
