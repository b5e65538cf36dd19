"""What a DINO run writes: safe to load, and whole where the disk is full."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from dinopretrain.engine.trainer import TEACHER_FILE
from fastreid.engine.train_loop import HookBase
from reid_common.errors import UserError
from small_dino import ITERS_PER_EPOCH, assert_same_weights, start


class FullDisk(HookBase):
    """From the second epoch on no file can be longer than ``limit`` bytes."""

    def __init__(self, limit: int) -> None:
        self.limit = limit

    def before_step(self) -> None:
        if self.trainer.iter == ITERS_PER_EPOCH:
            _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.limit, hard))


@pytest.fixture
def file_limit() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def uninterrupted(dino_cfg, tmp_path) -> tuple[Path, dict]:
    """Folder of a run of 3 epochs, and its weights at the end."""
    cfg = dino_cfg.clone()
    cfg.OUTPUT_DIR = str(tmp_path / "uninterrupted")
    trainer = start(cfg)
    trainer.train()
    return Path(cfg.OUTPUT_DIR), trainer.dino.state_dict()


@pytest.mark.parametrize("full_for", [TEACHER_FILE, "model_0001.pth"])
def test_a_full_disk_leaves_the_checkpoint_before(
    dino_cfg, uninterrupted, file_limit, full_for
) -> None:
    """And --resume goes on from it to the uninterrupted run's weights when there is room again."""
    folder, expected = uninterrupted
    sizes = [(folder / name).stat().st_size for name in (TEACHER_FILE, "model_0001.pth")]
    assert 2 * sizes[0] < sizes[1]
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    # Half of the teacher's, or between the two.
    limit = sizes[0] // 2 if full_for == TEACHER_FILE else 2 * sizes[0]
    trainer = start(dino_cfg)
    trainer.register_hooks([FullDisk(limit)])
    with pytest.raises(UserError, match=rf"cannot write .*{full_for}: .*make room .*--resume"):
        trainer.train()
    resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    logs = Path(dino_cfg.OUTPUT_DIR)
    assert (logs / "last_checkpoint").read_text() == "model_0000.pth"
    assert not (logs / "model_0001.pth").exists()
    assert not [name for name in os.listdir(logs) if name.endswith(".part")]
    teacher = torch.load(logs / TEACHER_FILE, weights_only=True)
    checkpoint = torch.load(logs / "model_0000.pth", weights_only=True)["model"]
    same = torch.equal(teacher["cls_token"], checkpoint["teacher.backbone.cls_token"])
    assert same == (full_for == TEACHER_FILE)  # else the teacher's is that of the second epoch
    resumed = start(dino_cfg)
    assert resumed.start_epoch == 1
    resumed.train()
    assert_same_weights(resumed.dino.state_dict(), expected)


def test_both_files_hold_nothing_but_plain_data(dino_cfg, market_root, monkeypatch) -> None:
    """The scaler of fp16 and the figures of an evaluation, too, by torch's own list of harmless."""
    monkeypatch.setenv("FASTREID_DATASETS", str(market_root))
    dino_cfg.DATASETS.TESTS, dino_cfg.TEST.EVAL_PERIOD = ("Market1501",), 2
    dino_cfg.SOLVER.AMP.ENABLED, dino_cfg.SOLVER.AMP.DTYPE = True, "fp16"
    dino_cfg.SOLVER.MAX_EPOCH = 2
    trainer = start(dino_cfg)
    trainer.train()
    folder = Path(dino_cfg.OUTPUT_DIR)
    allowed = list(torch.serialization.get_safe_globals())
    torch.serialization.clear_safe_globals()  # those that fastreid_compat adds
    try:
        content = torch.load(folder / "model_final.pth", weights_only=True)
        teacher = torch.load(folder / TEACHER_FILE, weights_only=True)
    finally:
        torch.serialization.add_safe_globals(allowed)
    assert {"model", "optimizer", "grad_scaler", "epoch", "metric"} <= set(content)
    expected = trainer.dino.teacher.backbone.state_dict()
    assert teacher.keys() == expected.keys()
    for key, value in expected.items():
        assert torch.equal(teacher[key], value)
        assert torch.equal(content["model"][f"teacher.backbone.{key}"], value)
