"""The whole pipeline, with real children, in seconds a stage; and one that is killed."""

from __future__ import annotations

import json
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import forked
import pytest
import torch
from cfs.pipeline.config import STAGES
from python_forks import Fork, run, start
from small_dino import BATCH
from small_pipeline import KEPT, write_data, write_pipeline

TOOL = Path(__file__).parents[3] / "tools" / "conditional_pretrain.py"
FORKING = Path(forked.__file__), "reid_commands.pretrain"
EPOCHS = 8


class Run:
    """A pipeline's folder and how it is called."""

    def __init__(self, folder: Path, data: Path) -> None:
        # Long enough to be killed in its midst.
        pretrain = {"CONFIG": str(folder / "dino.yml"), "OPTS": ["SOLVER.MAX_EPOCH", EPOCHS]}
        self.file, self.out = write_pipeline(folder, PRETRAIN=pretrain), folder / "out"
        self.environment = {"FASTREID_DATASETS": str(data)}

    def start(self, *words: object) -> Fork:
        line = ["--config-file", self.file, *words]
        return start(TOOL, *line, environment=self.environment)

    def finish(self, *words: object, tool: Sequence[object] = (TOOL,)) -> str:
        done = run(*tool, "--config-file", self.file, *words, environment=self.environment)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def record(self, stage: str) -> dict:
        return json.loads((self.out / "stages" / f"{stage}.json").read_text())

    def state(self, path: str) -> dict[str, torch.Tensor]:
        state = torch.load(self.out / path, weights_only=True)
        return state.get("model", state)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Run:
    """A pipeline that ran to its end in one go; its stages are forks, for the sake of time."""
    data = tmp_path_factory.mktemp("data")
    write_data(data)
    whole = Run(tmp_path_factory.mktemp("whole"), data)
    whole.finish(tool=FORKING)
    return whole


def test_the_whole_pipeline(whole) -> None:
    for stage in STAGES:
        record = whole.record(stage)
        assert record["status"] == "done" and record["attempts"] == 1, stage
        assert all((whole.out / path).exists() for path in record["outputs"].values())
    sizes = {"images": KEPT, "epochs": EPOCHS, "iterations": EPOCHS * KEPT // BATCH}
    assert whole.record("pretrain")["sizes"] == sizes
    log = (whole.out / "finetune" / "log.txt").read_text()
    assert "teacher_backbone.pth" in log and "100% of the ViT's weights" in log
    meta = json.loads((whole.out / "scores" / "meta.json").read_text())
    assert (
        meta["source_config"]["MODEL"]["PIXEL_MEAN"] != meta["target_config"]["MODEL"]["PIXEL_MEAN"]
    )
    results = json.loads((whole.out / "evaluate" / "results.json").read_text())
    assert [row["model"] for row in results] == ["target", "finetune"]
    assert all(0 < row["mAP"] <= 100 and "Rank-1" in row for row in results)


def copied(whole: Run, folder: Path, *stages: str) -> Run:
    """Another folder, in which only ``stages`` are done."""
    run = Run(folder, Path(whole.environment["FASTREID_DATASETS"]))
    for stage in STAGES:
        if stage in stages:
            record = whole.record(stage)
            for made in {path.partition("/")[0] for path in record["outputs"].values()}:
                shutil.copytree(whole.out / made, run.out / made)
            (run.out / "stages").mkdir(exist_ok=True)
            shutil.copy(whole.out / "stages" / f"{stage}.json", run.out / "stages")
    return run


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 300
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def children(pid: int) -> list[int]:
    return [int(x) for x in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.skipif(sys.platform != "linux", reason="children of a killed process")
def test_killed_and_continued(whole, tmp_path) -> None:
    """kill -9 after the first epoch of pre-training: same weights, in another place, too."""
    run = copied(whole, tmp_path / "killed", "source", "target", "score", "select")
    process = run.start("--only", "pretrain")
    wait_for(run.out / "pretrain" / "last_checkpoint")
    (child,) = children(process.pid)
    process.kill()
    process.finish()
    deadline = time.monotonic() + 60
    while Path(f"/proc/{child}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert run.record("pretrain")["status"] == "started"
    assert not (run.out / "pretrain" / "model_final.pth").exists()

    output = run.finish("--only", "select", "pretrain")
    assert "stage 4 of 7, select: done before" in output
    record = run.record("pretrain")
    assert record["status"] == "done" and record["attempts"] == 2
    assert "Starting training from epoch 0" not in output
    for path in ("pretrain/teacher_backbone.pth", "pretrain/model_final.pth"):
        one, other = run.state(path), whole.state(path)
        assert one.keys() == other.keys()
        assert all(torch.equal(value, other[key]) for key, value in one.items()), path


def test_interrupted(whole, tmp_path) -> None:
    """SIGTERM to the pipeline alone ends its child, and says how to go on."""
    run = copied(whole, tmp_path / "interrupted", "source", "target", "score", "select")
    process = run.start("--only", "pretrain")
    wait_for(run.out / "pretrain" / "last_checkpoint")
    process.terminate()
    done = process.finish()
    assert done.returncode == 128 + signal.SIGTERM
    assert "interrupted: the same command resumes from here" in done.stdout + done.stderr
    assert run.record("pretrain")["status"] == "started"
