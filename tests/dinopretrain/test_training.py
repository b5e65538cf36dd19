"""DINO through FastReID's trainer: it trains, resumes, evaluates, and notices what goes wrong."""

from __future__ import annotations

import math
import signal
from pathlib import Path

import pytest
import python_forks
import torch
from reid_common.errors import UserError
from small_dino import ITERS_PER_EPOCH, assert_same_weights, metrics, start
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from timm.models.vision_transformer import VisionTransformer
from transreid import TransReIDBackbone, load_weights
from transreid.modeling.vits import create_vit

HERE = Path(__file__).parent


def test_dino_trains_and_leaves_a_backbone(dino_cfg) -> None:
    trainer = start(dino_cfg)
    before = {key: value.clone() for key, value in trainer.dino.state_dict().items()}
    trainer.train()
    after = trainer.dino.state_dict()
    moved = {key for key, value in after.items() if not torch.equal(value, before[key])}
    for name in ("student.backbone.blocks.0.mlp.fc1.weight", "student.head.last_layer.weight_v"):
        assert name in moved and name.replace("student", "teacher") in moved
    assert "loss.center" in moved
    assert "student.head.last_layer.weight_g" not in moved
    assert all(p.grad is None and not p.requires_grad for p in trainer.dino.teacher.parameters())

    vit: VisionTransformer = create_vit("vit_tiny_patch16_224", 2)
    backbone = TransReIDBackbone(vit, (32, 16), (8, 8))
    for file in ("teacher_backbone.pth", "model_final.pth"):
        report = load_weights(backbone, str(Path(dino_cfg.OUTPUT_DIR) / file))
        assert report.missing == []
        assert torch.equal(backbone.pos_embed, after["teacher.backbone.pos_embed"])


WATCHED = {
    "total_loss": (0.5, 4.0),
    "loss_over_ln_k": (0.1, 1.5),
    "teacher_entropy": (0.0, math.log(32)),
    "mean_entropy": (0.0, math.log(32)),
    "feature_spread": (1e-4, 1.0),
    "logit_spread": (1e-4, 1.0),
    "view_agreement": (-1.0, 1.0),
    "ema_momentum": (0.996, 1.0),
    "teacher_temp": (0.04, 0.04),
    "weight_decay": (0.04, 0.4),
    "lr": (1e-6, 8e-4),
    "grad_norm": (1e-4, 1e4),
    "images_per_second": (0.01, 1e5),
    "data_time": (0.0, 60.0),
    "skipped_steps": (0, 0),
    "bad_images": (0, 0),
}


def test_what_can_go_wrong_is_in_the_metrics_and_in_tensorboard(dino_cfg) -> None:
    start(dino_cfg).train()
    latest = metrics(dino_cfg)[-1]
    for name, (low, high) in WATCHED.items():
        assert low <= latest[name] <= high, name
    assert latest["loss_over_ln_k"] == pytest.approx(latest["total_loss"] / math.log(32))
    events = EventAccumulator(dino_cfg.OUTPUT_DIR)
    events.Reload()
    assert set(WATCHED) <= set(events.Tags()["scalars"])


def test_the_scaled_rate_and_the_shares_of_a_batch_are_logged(dino_cfg, caplog) -> None:
    dino_cfg.SOLVER.MAX_EPOCH, dino_cfg.DINO.MICRO_BATCH = 2, 3
    with caplog.at_level("INFO", logger="dinopretrain"):
        start(dino_cfg).train()
    # 0.05 * 4 / 256
    assert "SOLVER.BASE_LR 0.05 x batch 4 / 256 = 0.00078125 after 1 epochs" in caplog.text
    assert "Step: 4 images, 4 in each of 1 process(es), 3 at a time" in caplog.text
    # metrics.json has the last step of each epoch; that of the warm-up has the whole rate.
    assert metrics(dino_cfg)[0]["lr"] == pytest.approx(0.00078125)


def test_the_teacher_gets_no_gradient_even_if_unfrozen(dino_cfg) -> None:
    trainer = start(dino_cfg)
    trainer.dino.teacher.requires_grad_(True)
    trainer.train()
    assert all(p.grad is None for p in trainer.dino.teacher.parameters())


def test_killed_and_resumed_equals_uninterrupted(dino_cfg, tmp_path: Path) -> None:
    """SIGKILL in the middle of the second epoch."""
    uninterrupted = start(dino_cfg)
    uninterrupted.train()
    cfg = dino_cfg.clone()
    cfg.OUTPUT_DIR = str(tmp_path / "killed")
    script, step = HERE / "killed_dino.py", ITERS_PER_EPOCH + 2
    done = python_forks.run(script, tmp_path / "pool", cfg.OUTPUT_DIR, step)
    assert done.returncode == -signal.SIGKILL, done.stderr
    resumed = start(cfg)
    assert resumed.start_epoch == 1
    resumed.train()
    assert_same_weights(resumed.dino.state_dict(), uninterrupted.dino.state_dict())


def test_the_same_seed_gives_the_same_run(dino_cfg, tmp_path: Path) -> None:
    states = []
    for folder in ("a", "b"):
        cfg = dino_cfg.clone()
        cfg.SOLVER.MAX_EPOCH, cfg.OUTPUT_DIR = 2, str(tmp_path / folder)
        trainer = start(cfg)
        trainer.train()
        states.append(trainer.dino.state_dict())
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())


def test_labelled_tests_report_the_teacher(dino_cfg, market_root, monkeypatch) -> None:
    monkeypatch.setenv("FASTREID_DATASETS", str(market_root))
    dino_cfg.DATASETS.TESTS = ("Market1501",)
    dino_cfg.SOLVER.MAX_EPOCH = dino_cfg.TEST.EVAL_PERIOD = 2
    results = start(dino_cfg).train()
    assert results["mAP"] > 0


def test_a_cnn_of_fastreid(dino_cfg) -> None:
    cfg = dino_cfg
    cfg.MODEL.BACKBONE.NAME, cfg.MODEL.BACKBONE.DEPTH = "build_resnet_backbone", "18x"
    cfg.MODEL.BACKBONE.FEAT_DIM = 512
    cfg.SOLVER.MAX_EPOCH = 2
    trainer = start(cfg)
    trainer.train()
    assert trainer.dino.student.features(torch.rand(2, 3, 32, 16)).shape == (2, 512)


UNIFORM = {
    "DINO.TEACHER_TEMP": 5.0,
    "DINO.WARMUP_TEACHER_TEMP": 5.0,
    "SOLVER.BASE_LR": 1e-6,  # so that it stays as it is
}
# Sharp, a fast teacher, a high rate, and a centre that never follows.
ONE_HOT = {
    "DINO.TEACHER_TEMP": 0.01,
    "DINO.WARMUP_TEACHER_TEMP": 0.01,
    "DINO.CENTER_MOMENTUM": 1.0,
    "DINO.MOMENTUM": 0.5,
    "SOLVER.BASE_LR": 0.2,
    "SOLVER.MAX_EPOCH": 8,
}


@pytest.mark.parametrize("kind, settings", [("uniform", UNIFORM), ("one_hot", ONE_HOT)])
@pytest.mark.parametrize("stop", [True, False])
def test_collapse_is_noticed(dino_cfg, caplog, kind, settings, stop) -> None:
    """In the epoch in which it happens: at once, or after a few steps of training."""
    dino_cfg.merge_from_list([part for pair in settings.items() for part in pair])
    dino_cfg.DINO.STOP_ON_COLLAPSE = stop
    dino_cfg.DINO.COLLAPSE_GRACE = 0
    trainer = start(dino_cfg)
    if stop:
        with pytest.raises(UserError, match=rf"collapsed \({kind}\) in epoch [01]: .*DINO\."):
            trainer.train()
    else:
        trainer.train()
        assert f"collapsed ({kind})" in caplog.text


def test_the_first_iterations_are_not_called_a_collapse(dino_cfg) -> None:
    """Outputs begin almost uniform; epochs of few iterations have no more than that to show."""
    dino_cfg.merge_from_list([part for pair in UNIFORM.items() for part in pair])
    assert dino_cfg.DINO.STOP_ON_COLLAPSE and dino_cfg.DINO.COLLAPSE_GRACE == 100
    start(dino_cfg).train()


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("MODEL.META_ARCHITECTURE", "Baseline", "needs DINO"),
        ("SOLVER.WARMUP_EPOCHS", 3, "WARMUP_EPOCHS is 3"),
        ("SOLVER.WARMUP_ITERS", 10, "set SOLVER.WARMUP_ITERS 0"),
        ("SOLVER.IMS_PER_BATCH", 25, "fewer images than one batch"),
        ("DINO.STUDENT_TEMP", 0.0, "STUDENT_TEMP is 0.0; write a number above 0"),
        ("DINO.MOMENTUM", 1.5, "from 0 to 1"),
        ("DINO.MICRO_BATCH", -1, "MICRO_BATCH is -1"),
        ("DINO.LOCAL_SCALE", [0.5, 0.1], "0 < low <= high <= 1"),
        ("DINO.CROP_RATIO", [0.5], "0 < low <= high"),
        ("DINO.COLOR_JITTER", [0.4, 0.4, 0.2], r"\[brightness, contrast, saturation, hue\]"),
        ("DINO.COLOR_JITTER", [0.4, 0.4, 0.2, 0.6], "hue at most 0.5"),
        ("DINO.GRAYSCALE_PROB", 1.1, "from 0 to 1"),
        ("DINO.KOLEO_WEIGHT", float("nan"), "KOLEO_WEIGHT is nan; write a number of at least 0"),
        ("DINO.COLLAPSE_GRACE", -1, "COLLAPSE_GRACE is -1"),
    ],
)
def test_settings_that_cannot_work_are_named(dino_cfg, key, value, message) -> None:
    dino_cfg.merge_from_list([key, value])
    with pytest.raises(UserError, match=message):
        start(dino_cfg)
