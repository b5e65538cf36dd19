"""Every method through the trainer: trains, resumes, skips bad steps, evaluates, hands over."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import pytest
import python_forks
import torch
from dinopretrain.methods import BACKBONE_FILES, CONTRASTIVE, METHODS
from fastreid.modeling import build_model
from fastreid.utils.checkpoint import Checkpointer
from reid_common.errors import UserError
from reid_core.run.preflight import preflight
from small_dino import ITERS_PER_EPOCH, assert_same_weights, metrics, start, write_noise
from small_methods import small_method_cfg, use_small_resnet
from transreid import TransReIDBackbone, load_weights
from transreid.modeling.vits import create_vit

HERE = Path(__file__).parent
NEW = [name for name in METHODS if name != "DINO"]


WATCHED = {
    "MoCoV2": ("loss_contrast", "queue_age", "queue_filled", "queue_staleness", "patch_grad_norm"),
    "MoCoV3": ("loss_contrast",),
    "MoBY": ("loss_contrast", "queue_age", "queue_filled", "queue_staleness", "patch_grad_norm"),
    "IBOT": ("loss_dino", "loss_patch", "patch_entropy", "hidden_patches", "teacher_patch_temp"),
}


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    write_noise(tmp_path / "pool")
    return tmp_path / "pool"


def cloned(trainer) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in trainer.method.state_dict().items()}


@pytest.mark.parametrize("method", NEW)
def test_it_trains_evaluates_and_leaves_a_backbone(
    method, pool, tmp_path, market_root, monkeypatch
) -> None:
    monkeypatch.setenv("FASTREID_DATASETS", str(market_root))
    cfg = small_method_cfg(method, pool, tmp_path / "logs")
    cfg.DATASETS.TESTS = ("Market1501",)
    cfg.TEST.EVAL_PERIOD = 2
    trainer = start(cfg)
    before = cloned(trainer)
    results = trainer.train()
    assert results["mAP"] > 0
    after = trainer.method.state_dict()
    online, average = trainer.method.trained, trainer.method.average
    names = {id(module): name for name, module in trainer.method.named_children()}
    for encoder in (online, average):
        key = f"{names[id(encoder)]}.backbone.blocks.0.mlp.fc1.weight"
        assert not torch.equal(after[key], before[key])
    assert all(p.grad is None for p in average.parameters())
    frozen = f"{names[id(online)]}.backbone.patch_embed.proj.weight"
    assert torch.equal(after[frozen], before[frozen]) == (method == "MoCoV3")

    check_metrics(method, metrics(cfg)[-1])
    backbone = TransReIDBackbone(create_vit("vit_tiny_patch16_224", 2), (32, 16), (8, 8))
    file = Path(cfg.OUTPUT_DIR) / BACKBONE_FILES[method]
    for path in (file, file.with_name("model_final.pth")):
        report = load_weights(backbone, str(path))
        assert report.missing == []
        expected = trainer.method.exported.backbone.state_dict()["blocks.1.mlp.fc2.weight"]
        assert torch.equal(backbone.blocks[1].mlp.fc2.weight, expected)


def check_metrics(method: str, latest: dict) -> None:
    wanted = (*WATCHED[method], "grad_norm", "ema_momentum", "images_per_second", "bad_images")
    assert set(wanted) <= set(latest)
    assert latest["skipped_steps"] == 0
    if method in CONTRASTIVE:
        assert -1 <= latest["negative_similarity"] <= latest["positive_similarity"] + 0.5 <= 1.5
        assert 0 <= latest["key_spread"] <= 1
        assert 0 < latest["loss_over_uniform"] < 2
    if "queue_age" in wanted:
        assert latest["queue_filled"] == 1  # 12 steps of 4 keys, 10 places
        assert latest["queue_age"] == pytest.approx(10 / 4)
        assert 0 < latest["queue_staleness"] < 1


@pytest.fixture(scope="module")
def killed(tmp_path_factory) -> Path:
    """Folder with a pool, and a run of each method that was killed in its second epoch."""
    folder = tmp_path_factory.mktemp("killed")
    write_noise(folder / "pool")
    done = python_forks.run(HERE / "killed_methods.py", folder, ITERS_PER_EPOCH + 2)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [f"{method}:{signal.SIGKILL.value}" for method in NEW]
    return folder


@pytest.mark.parametrize("method", NEW)
def test_killed_and_resumed_equals_uninterrupted(method, killed: Path, tmp_path: Path) -> None:
    """SIGKILL in the middle of the second epoch; queue and pointer included."""
    uninterrupted = start(small_method_cfg(method, killed / "pool", tmp_path / "whole"))
    uninterrupted.train()
    resumed = start(small_method_cfg(method, killed / "pool", killed / method))
    assert resumed.start_epoch == 1
    if method in ("MoCoV2", "MoBY"):
        # 6 steps of 4 keys into a queue of 10
        assert int(resumed.method.queue.pointer) == 6 * 4 % 10
    resumed.train()
    assert_same_weights(resumed.method.state_dict(), uninterrupted.method.state_dict())


def poison(trainer, steps: tuple[int, ...]) -> None:
    """Let the losses of some steps be no numbers."""
    losses = trainer.method.losses
    trainer.method.losses = lambda batch: {
        name: value * (float("nan") if trainer.iter in steps else 1.0)
        for name, value in losses(batch).items()
    }


def test_a_skipped_step_before_a_checkpoint(pool, tmp_path: Path) -> None:
    """The key encoder has followed these weights already, and does not once more after a resume."""
    whole = start(small_method_cfg("MoCoV2", pool, tmp_path / "whole"))
    poison(whole, (ITERS_PER_EPOCH - 1,))
    whole.train()
    (tmp_path / "resumed").mkdir()
    (tmp_path / "resumed" / "last_checkpoint").write_text("model_0000.pth")
    shutil.copy(tmp_path / "whole" / "model_0000.pth", tmp_path / "resumed")
    resumed = start(small_method_cfg("MoCoV2", pool, tmp_path / "resumed"))
    assert resumed.start_epoch == 1
    resumed.train()
    assert_same_weights(resumed.method.state_dict(), whole.method.state_dict())


@pytest.mark.parametrize("method", NEW)
def test_a_step_that_is_not_finite_changes_nothing(method, pool, tmp_path: Path) -> None:
    """Encoders, predictor, queue, centres; the key encoder follows the last good weights once."""
    cfg = small_method_cfg(method, pool, tmp_path / "logs")
    trainer = start(cfg)
    poison(trainer, (7, 8))
    step, states = trainer.run_step, {}

    def run_step() -> None:
        step()
        states[trainer.iter] = cloned(trainer)

    trainer.run_step = run_step
    trainer.train()
    assert metrics(cfg)[-1]["skipped_steps"] == 2
    follower = "key_encoder." if method in CONTRASTIVE else "teacher."
    for key, value in states[8].items():
        assert torch.equal(value, states[7][key]), key
        if not key.startswith((follower, "queries_moved")):
            assert torch.equal(value, states[6][key]), key
    assert any(not torch.equal(value, states[8][key]) for key, value in states[9].items())
    assert all(torch.isfinite(value).all() for value in states[11].values())


@pytest.mark.parametrize("method", CONTRASTIVE)
@pytest.mark.parametrize("kind", ["resnet", "ics"])
def test_other_backbones(method, kind, tmp_path: Path) -> None:
    write_noise(tmp_path / "pool", 8)
    cfg = small_method_cfg(method, tmp_path / "pool", tmp_path / "logs")
    cfg.SOLVER.MAX_EPOCH, cfg.SOLVER.WARMUP_EPOCHS = 1, 0
    if kind == "resnet":
        use_small_resnet(cfg)
        cfg.SOLVER.OPT = "LARS" if method == "MoCoV3" else cfg.SOLVER.OPT
    else:
        cfg.MODEL.BACKBONE.STEM = "ics"
    trainer = start(cfg)
    if kind == "ics":  # a convolution stem is not frozen
        assert trainer.method.trained.backbone.patch_embed.proj.weight.requires_grad
    trainer.train()
    assert metrics(cfg)[-1]["skipped_steps"] == 0
    again = build_model(cfg)
    Checkpointer(again).load(str(Path(cfg.OUTPUT_DIR) / "model_final.pth"))
    assert_same_weights(again.state_dict(), trainer.method.state_dict())


@pytest.mark.parametrize("method", CONTRASTIVE)
def test_collapse_is_noticed(method, pool, tmp_path: Path) -> None:
    cfg = small_method_cfg(method, pool, tmp_path / "logs")
    cfg.DINO.COLLAPSE_GRACE = 0
    trainer = start(cfg)
    for encoder in (trainer.method.trained, trainer.method.average):
        encoder.head.register_forward_hook(lambda module, args, out: out * 0 + 1 + 1e-3 * out)
    if method != "MoCoV2":
        trainer.method.predictor.register_forward_hook(lambda module, args, out: out * 0 + 1)
    with pytest.raises(UserError, match=rf"{method} has collapsed \((constant|uniform)\).*MOCO\."):
        trainer.train()


@pytest.mark.parametrize(
    "method, key, value, message",
    [
        ("MoCoV3", "DINO.LOCAL_VIEWS", 2, "compares two global views"),
        ("MoCoV3", "DINO.MICRO_BATCH", 2, "would change MoCoV3: a query is compared with the keys"),
        ("MoBY", "DINO.MICRO_BATCH", 2, "would change MoBY: BatchNorm of the heads"),
        ("MoBY", "MOCO.QUEUE_SIZE", 3, "fewer keys than the 4 of one step"),
        ("MoCoV3", "DINO.GRAYSCALE_PROB", 0.5, r"colours of MoCoV3 are those of MOCO\.VIEWS"),
        ("MoCoV2", "SOLVER.OPT", "Adam", "write one of SGD, AdamW, LARS"),
        ("MoCoV3", "MOCO.POSITIONS", "sincosine", "Did you mean 'sincos'"),
        ("MoCoV3", "MODEL.BACKBONE.NUM_HEADS", 5, "does not divide the 192 dimensions"),
        ("IBOT", "MODEL.BACKBONE.NAME", "build_resnet_backbone", "IBOT hides patches of a ViT"),
        ("IBOT", "IBOT.MASK_RATIO", [0.0, 0.9], "range below 1"),
        ("IBOT", "IBOT.MASK_RATIO_RANGE", [0.1], "write as many of both"),
    ],
)
def test_settings_that_cannot_work_are_named(
    method, key, value, message, pool, tmp_path: Path
) -> None:
    cfg = small_method_cfg(method, pool, tmp_path / "logs")
    cfg.merge_from_list([key, value])
    with pytest.raises(UserError, match=message):
        preflight(cfg)
        start(cfg)


@pytest.mark.parametrize("method", ["MoCoV2", "IBOT"])
def test_in_pieces_it_is_the_same_training(method, pool, tmp_path: Path) -> None:
    """Where that is allowed: without BatchNorm or negatives of the same batch."""
    states = []
    for micro_batch in (0, 3):
        cfg = small_method_cfg(method, pool, tmp_path / str(micro_batch))
        cfg.MODEL.BACKBONE.DROP_PATH_RATIO = 0.0
        cfg.SOLVER.MAX_EPOCH, cfg.SOLVER.WARMUP_EPOCHS, cfg.SOLVER.BASE_LR = 1, 0, 1e-4
        cfg.DINO.MICRO_BATCH = micro_batch
        trainer = start(cfg)
        trainer.train()
        states.append(trainer.method.state_dict())
    for key, value in states[0].items():
        if not key.endswith("attn.qkv.bias"):  # the keys' has no gradient but for rounding
            torch.testing.assert_close(value, states[1][key], atol=1e-4, rtol=1e-4, msg=key)
