"""How much of the disk a pipeline asks for."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from cfs.pipeline.checks import disk_space
from cfs.pipeline.stages.training import training_stage
from reid_common.errors import UserError
from small_pipeline import write_pipeline


@pytest.fixture
def stage(tmp_path):
    write_pipeline(tmp_path)
    return training_stage(tmp_path / "out", "source", "DINO", str(tmp_path / "dino.yml"), [])


def test_a_resumed_training_needs_what_it_has_not_written(stage, tmp_path, monkeypatch) -> None:
    out = tmp_path / "out"
    needed = disk_space.checkpoint_bytes(stage.cfg)
    usage = shutil.disk_usage("/")._replace(free=disk_space.MARGIN + needed - 1000)
    monkeypatch.setattr(disk_space.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(UserError, match="are free, the checkpoints need about"):
        disk_space.check_space([stage], out)
    checkpoint: Path = out / "source" / "model_0000.pth"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_bytes(bytes(1000))
    disk_space.check_space([stage], out)


def test_cameras_that_are_counted_in_the_images_take_no_space(stage) -> None:
    needed = disk_space.checkpoint_bytes(stage.cfg)
    stage.cfg.MODEL.SIE.CAMERA = True  # of NUM_CAMERAS 0: as many as the training set has
    assert disk_space.checkpoint_bytes(stage.cfg) == needed


def test_a_period_of_no_epochs(stage) -> None:
    stage.cfg.SOLVER.CHECKPOINT_PERIOD = 0
    with pytest.raises(UserError, match="CHECKPOINT_PERIOD is 0; set a number of epochs"):
        disk_space.checkpoint_bytes(stage.cfg)
