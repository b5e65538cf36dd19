"""tools/train_net.py pre-trains on two machines and under torchrun, to the same weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from python_forks import Fork, free_port, run_together, start
from small_dino import assert_same_weights, small_dino_cfg, write_noise

TRAIN = Path(__file__).parents[2] / "tools" / "train_net.py"


def finish(*processes: Fork) -> None:
    for process in processes:
        done = process.finish()
        assert done.returncode == 0, done.stderr


@pytest.fixture
def config(tmp_path: Path) -> Path:
    write_noise(tmp_path / "pool")
    cfg = small_dino_cfg(tmp_path / "pool", tmp_path / "unused")
    cfg.SOLVER.MAX_EPOCH, cfg.SOLVER.WARMUP_EPOCHS = 1, 0
    cfg.DINO.MICRO_BATCH = 1
    cfg.MODEL.BACKBONE.GRADIENT_CHECKPOINTING = True
    (tmp_path / "config.yaml").write_text(cfg.dump())
    return tmp_path / "config.yaml"


def test_two_machines_and_torchrun(config, tmp_path) -> None:
    """Two processes each: of FastReID's launch on two "machines", and with torchrun's variables."""
    launched, torchrun = tmp_path / "launched", tmp_path / "torchrun"
    url = f"tcp://127.0.0.1:{free_port()}"
    meet = ("--num-machines", 2, "--dist-url", url)
    finish(
        *(
            start(
                TRAIN, "--config-file", config, *meet, "--machine-rank", r, "OUTPUT_DIR", launched
            )
            for r in (0, 1)
        )
    )
    done = run_together(2, TRAIN, "--config-file", config, "OUTPUT_DIR", torchrun)
    assert done.returncode == 0, done.stderr
    states = []
    for folder in (launched, torchrun):
        rows = [json.loads(line) for line in (folder / "metrics.json").read_text().splitlines()]
        assert [row["iteration"] for row in rows] == [5]  # written once, by one process
        log = (folder / "log.txt").read_text()
        assert "4 images, 2 in each of 2 process(es), 1 at a time" in log
        states.append(torch.load(folder / "model_final.pth", weights_only=True)["model"])
    assert all(torch.isfinite(value).all() for value in states[0].values())
    assert_same_weights(*states)
