"""tools/convert_dino.py: from the released format into a run, and back into a file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from reid_commands import convert_dino
from small_dino import small_dino_cfg, start, write_noise


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """Folder of a run of one epoch, with its config."""
    write_noise(tmp_path / "pool")
    cfg = small_dino_cfg(tmp_path / "pool", tmp_path / "run")
    cfg.SOLVER.MAX_EPOCH, cfg.SOLVER.WARMUP_EPOCHS = 1, 0
    start(cfg).train()
    (tmp_path / "run" / "config.yaml").write_text(cfg.dump())
    return tmp_path / "run"


def run(*words: object) -> None:
    assert convert_dino.main([str(word) for word in words]) == 0


def test_there_and_back(finished, tmp_path, capsys) -> None:
    config = ("--config-file", finished / "config.yaml")
    run(finished / "model_final.pth", "--to", "released", "-o", tmp_path / "released.pth", *config)
    run(tmp_path / "released.pth", "-o", tmp_path / "again", *config, "SOLVER.MAX_EPOCH", "3")
    assert (tmp_path / "again" / "last_checkpoint").read_text() == "model_0000.pth"
    assert "1 epochs in 6 steps are done" in capsys.readouterr().out
    again = torch.load(tmp_path / "again" / "model_0000.pth", weights_only=True)
    before = torch.load(finished / "model_final.pth", weights_only=True)
    assert again["model"].keys() == before["model"].keys()
    assert all(torch.equal(value, before["model"][key]) for key, value in again["model"].items())


def test_bad_input_is_one_message(finished, tmp_path, capsys) -> None:
    config = ("--config-file", finished / "config.yaml")
    final = finished / "model_final.pth"
    for words, message in (
        ([final], "--config-file is needed"),
        ([final, *config, "-o", tmp_path / "new"], "is no checkpoint of a DINO run"),
        ([final, *config], "has a run already"),
        ([final, *config, "--to", "released"], "-o is needed"),
        (["absent.pth", *config, "-o", tmp_path / "new"], "no checkpoint 'absent.pth'"),
    ):
        with pytest.raises(SystemExit, match="2"):
            run(*words)
        assert message in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
