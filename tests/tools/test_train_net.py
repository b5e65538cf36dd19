"""The command line: training, evaluation, two processes, and what it says of bad input."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import python_forks
import torch
from fastreid.data.datasets.market1501 import Market1501
from fastreid.engine import default_argument_parser
from reid_core.config import trainer_class
from synthetic import write_market
from transreid import training

ROOT = Path(__file__).parents[2]
CONFIG = str(ROOT / "projects/TransReID/configs/ToyReID/vit_tiny_transreid.yml")
# The tiny Market-1501 of tests/conftest.py instead of ToyReID, two blocks, seconds.
SMALL = {
    "DATASETS.NAMES": '("Market1501",)',
    "DATASETS.TESTS": '("Market1501",)',
    "MODEL.DEVICE": "cpu",
    "MODEL.BACKBONE.NUM_BLOCKS": 2,
    "MODEL.SIE.VIEW": False,
    "MODEL.SIE.NUM_CAMERAS": 0,
    "INPUT.SIZE_TRAIN": "[64,32]",
    "INPUT.SIZE_TEST": "[64,32]",
    "DATALOADER.NUM_WORKERS": 0,
    "DATALOADER.NUM_INSTANCE": 2,
    "SOLVER.IMS_PER_BATCH": 8,
    "SOLVER.MAX_EPOCH": 2,
    "SOLVER.WARMUP_ITERS": 0,
    "TEST.EVAL_PERIOD": 2,
}


@pytest.fixture
def small(market_root, tmp_path, monkeypatch):
    """Function: KEY VALUE list of the small run with some keys changed."""
    monkeypatch.setenv("FASTREID_DATASETS", str(market_root))

    def opts(**changes: object) -> list[str]:
        keys = {**SMALL, "OUTPUT_DIR": tmp_path / "logs"}
        keys.update({name.replace("__", "."): value for name, value in changes.items()})
        return [str(x) for pair in keys.items() for x in pair]

    return opts


def run(*arguments: str) -> dict:
    return training.train_or_evaluate(default_argument_parser().parse_args(list(arguments)))


def test_the_data_set_is_opened_once_before_the_first_step(small, monkeypatch) -> None:
    opened = []
    original = Market1501.__init__

    def counting(self, *args, **kwargs):
        opened.append(kwargs)
        original(self, *args, **kwargs)

    monkeypatch.setattr(Market1501, "__init__", counting)
    cfg = training.setup(default_argument_parser().parse_args(["--config-file", CONFIG, *small()]))
    assert cfg.MODEL.SIE.CAMERA and cfg.DATASETS.CAMERAS == ("market1501:3",)
    trainer_class(cfg)(cfg)
    assert len(opened) == 1


def test_train_then_evaluate_gives_the_same_figures(small, tmp_path) -> None:
    trained = run("--config-file", CONFIG, *small())
    weights = str(tmp_path / "logs/model_final.pth")
    log = (tmp_path / "logs/log.txt").read_text()
    assert log.count("Starting training from epoch 0") == 1, "each line once"
    assert log.count("Running with full config") == 1
    evaluated = run("--config-file", CONFIG, "--eval-only", *small(MODEL__WEIGHTS=weights))
    assert evaluated["mAP"] == pytest.approx(trained["mAP"], abs=1e-4)
    written = json.loads((tmp_path / "logs/evaluation.json").read_text())
    assert list(written) == ["Market1501"] and written["Market1501"]["mAP"] == evaluated["mAP"]
    for key, value in {
        "TEST.RERANK.ENABLED": True,
        "TEST.AQE.ENABLED": True,
        "TEST.FLIP.ENABLED": True,
        "TEST.ROC.ENABLED": True,
        "TEST.METRIC": "euclidean",
    }.items():
        results = run(
            "--config-file",
            CONFIG,
            "--eval-only",
            *small(MODEL__WEIGHTS=weights, **{key.replace(".", "__"): value}),
        )
        assert 0 < results["mAP"] <= 100, key


def test_fastreids_resnet_and_bag_of_tricks_train(small, tmp_path) -> None:
    """No TransReID in it: mixing is the point."""
    config = str(ROOT / "projects/TransReID/configs/ToyReID/bagtricks_R18.yml")
    opts = small(SOLVER__MAX_EPOCH=4, TEST__EVAL_PERIOD=4)
    unused = ("MODEL.BACKBONE.NUM_BLOCKS", "MODEL.SIE.VIEW", "MODEL.SIE.NUM_CAMERAS")
    pairs = zip(opts[::2], opts[1::2], strict=True)
    results = run("--config-file", config, *(w for p in pairs if p[0] not in unused for w in p))
    rows = (tmp_path / "logs/metrics.json").read_text().splitlines()
    losses = [row["total_loss"] for row in map(json.loads, rows) if "total_loss" in row]
    assert losses[-1] < losses[0]
    assert results["mAP"] > 0


def write_other_architecture(folder: Path) -> Path:
    weights = folder / "resnet.pth"
    torch.save({"model": {"conv1.weight": torch.zeros(3, 3), "fc.bias": torch.zeros(3)}}, weights)
    return weights


@pytest.mark.parametrize(
    "change, message",
    [
        ({"SOLVER__BASE_LRR": 0.1}, r"SOLVER.BASE_LRR; did you mean SOLVER.BASE_LR"),
        ({"SOLVER__IMS_PER_BATCH": 7}, r"multiple of DATALOADER.NUM_INSTANCE"),
        ({"SOLVER__IMS_PER_BATCH": 16}, r"identities"),
        ({"MODEL__SIE__NUM_CAMERAS": 2}, r"MODEL.SIE.NUM_CAMERAS is 2"),
        (
            {"MODEL__BACKBONE__PRETRAIN": True, "MODEL__BACKBONE__PRETRAIN_PATH": "/no/vit.pth"},
            r"MODEL.BACKBONE.PRETRAIN_PATH.*/no/vit.pth",
        ),
        ({"MODEL__WEIGHTS": "/no/weights.pth"}, r"MODEL.WEIGHTS.*/no/weights.pth"),
        ({"DATASETS__NAMES": '("DukeMTMC",)'}, r"DukeMTMC.*FASTREID_DATASETS"),
        ({"DATASETS__NAMES": '("Market1502",)'}, r"Market1502.*Market1501"),
        ({"MODEL__HEADS__NAME": "JPMHeads"}, r"JPMHeads.*JPMHead"),
        ({"DATASETS__FILTERS": "[{'NAME': 'BlurFiler', 'MIN': 9}]"}, r"FILTERS\[0\].*BlurFilter"),
        (
            {"DATASETS__FILTERS": "[{'NAME': 'BlurFilter', 'MIN': 1e9}]"},
            r"FILTERS leaves none of the 24 .*sharpness below",
        ),
    ],
    ids=str,
)
def test_bad_input_ends_in_one_message(small, capsys, change: dict, message: str) -> None:
    with pytest.raises(SystemExit) as stop:
        run("--config-file", CONFIG, *small(**change))
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.count("error: ") == 1
    assert "Traceback" not in error
    last = error.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert re.search(message, last), last


def test_weights_of_another_architecture(small, tmp_path, capsys) -> None:
    weights = write_other_architecture(tmp_path)
    with pytest.raises(SystemExit) as stop:
        run("--config-file", CONFIG, "--eval-only", *small(MODEL__WEIGHTS=weights))
    assert stop.value.code == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("error: ") and "resnet.pth" in last and "conv1.weight" in last


def test_a_truncated_image_is_named_before_training(small, tmp_path, capsys, monkeypatch) -> None:
    data = write_market(tmp_path / "broken")
    victim = sorted((data / "bounding_box_train").iterdir())[3]
    victim.write_bytes(victim.read_bytes()[:400])
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path / "broken"))
    with pytest.raises(SystemExit):
        run("--config-file", CONFIG, *small())
    assert victim.name in capsys.readouterr().err


def test_an_image_that_breaks_during_training_is_named(small, tmp_path, monkeypatch, capsys):
    """After the check: FastReID would hang for ever, here the worker's error arrives."""
    data = write_market(tmp_path / "breaking")
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path / "breaking"))
    victims = sorted((data / "bounding_box_train").iterdir())

    def break_images(cfg, eval_only=False) -> None:
        for victim in victims[:12]:
            victim.write_bytes(victim.read_bytes()[:400])

    monkeypatch.setattr(training, "preflight", break_images)
    with pytest.raises(SystemExit):
        run("--config-file", CONFIG, *small(DATALOADER__NUM_WORKERS=1))
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ") and "_c" in error and ".jpg" in error


def command(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    env = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run(
        arguments, cwd=ROOT, env=env, capture_output=True, text=True, timeout=240, check=False
    )


@pytest.mark.parametrize("launcher", ["--num-gpus", "torchrun"])
def test_two_gloo_processes_train(small, tmp_path, market_root, monkeypatch, launcher: str) -> None:
    """Started by FastReID's launch, or with the variables of torchrun."""
    script = [ROOT / "tools/train_net.py", "--config-file", CONFIG]
    opts = small(SOLVER__MAX_EPOCH=1, TEST__EVAL_PERIOD=1)
    monkeypatch.setenv("FASTREID_DATASETS", str(market_root))
    if launcher == "torchrun":
        done = python_forks.run_together(2, *script, *opts)
    else:
        done = python_forks.run(*script, "--num-gpus", "2", *opts, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-3000:]
    log = (tmp_path / "logs/log.txt").read_text()
    assert "Rank of current process: 0. World size: 2" in log
    assert (
        "Rank of current process: 1. World size: 2" in (tmp_path / "logs/log.txt.rank1").read_text()
    )
    rows = [json.loads(x) for x in (tmp_path / "logs/metrics.json").read_text().splitlines()]
    assert any("mAP" in row for row in rows)


def test_bad_input_in_two_processes_is_one_exit_code(small) -> None:
    start = ["tools/train_net.py", "--config-file", CONFIG, "--num-gpus", "2"]
    opts = small(SOLVER__IMS_PER_BATCH=6, DATALOADER__NUM_INSTANCE=4)
    done = python_forks.run(*start, *opts, cwd=ROOT)
    assert done.returncode == 2, done.stderr[-2000:]
    assert "error: " in done.stderr
    assert "Traceback" not in done.stderr


def test_the_command_line_without_fastreid_says_what_to_install(tmp_path) -> None:
    """A site-packages without fastreid: only our packages and the standard library."""
    for package in ("ReIDCommon/reid_common", "FastReIDCompat/fastreid_compat"):
        shutil.copytree(ROOT / "projects" / package, tmp_path / package.split("/")[1])
    code = "import fastreid_compat"
    done = command(sys.executable, "-S", "-c", code, PYTHONPATH=str(tmp_path))
    assert done.returncode != 0
    assert "pip install --no-deps fastreid==1.4.0" in done.stderr
