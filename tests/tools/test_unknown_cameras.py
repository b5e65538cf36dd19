"""The comparison of policies for unknown cameras, in miniature."""

from __future__ import annotations

import json

import pytest
import torch
from reid_commands.studies import finished_run, unknown_cameras
from reid_common.errors import UserError
from synthetic import write_market
from toyreid.people import ToySpec, render_toyreid
from transreid import load_config, resolve_side_information, training

OPTIONS = ["MODEL.BACKBONE.NUM_BLOCKS", "1", "DATALOADER.NUM_WORKERS", "0", "MODEL.DEVICE", "cpu"]


def save_untrained(config: str, opts: list[str]) -> tuple[dict, str]:
    """In the place of a training, which has tests of its own: the weights of the first moment."""
    cfg = training.setup(training.arguments(config, [*opts, "MODEL.HEADS.NUM_CLASSES", "3"]))
    model = training.model_with(cfg, "")
    torch.save({"model": model.state_dict()}, f"{cfg.OUTPUT_DIR}/model_final.pth")
    return {}, cfg.OUTPUT_DIR


def test_summary() -> None:
    def scores(value: float) -> dict:
        return {name: {"mAP": value, "Rank-1": value + 10} for name in unknown_cameras.TESTS}

    table = unknown_cameras.summary({"no SIE": [scores(30.0), scores(32.0)]})
    # mean 31; standard deviation of 30 and 32: sqrt(2) = 1.4
    assert table.splitlines()[-1] == "| no SIE | 2 |" + " 31.0 ± 1.4 / 41.0 |" * 3


def test_the_last_third_of_the_cameras_is_unseen(tmp_path, monkeypatch) -> None:
    write_market(tmp_path, num_cameras=6, images_per_camera=1)
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path))
    assert unknown_cameras.tests_of("Market1501:identities=3") == {
        "unseen cameras (5-6)": "Market1501:identities=3:cameras=5-6",
        "both (1-6)": "Market1501:identities=3:cameras=1-6",
        "seen (1-4)": "Market1501:identities=3:cameras=1-4",
    }
    args = unknown_cameras.parser().parse_args(["--dataset", "Market1501"])
    for arm in unknown_cameras.STUDY.arms(args):
        cfg = load_config(arm.config, arm.options)
        assert cfg.DATASETS.NAMES == ("Market1501:cameras=1-4",)
        assert cfg.DATASETS.TESTS == ("Market1501:cameras=5-6",)
        resolve_side_information(cfg)
        assert (4 if cfg.MODEL.SIE.CAMERA else 0) == cfg.MODEL.SIE.NUM_CAMERAS
        assert not cfg.MODEL.SIE.VIEW
    with pytest.raises(UserError, match=r"has cameras 1-4 only; .*: name Market1501:identities=3$"):
        unknown_cameras.tests_of("Market1501:identities=3:cameras=1-4")
    write_market(tmp_path / "three", num_cameras=3)
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path / "three"))
    with pytest.raises(UserError, match=r"Market1501 has 3 camera\(s\).*at least 4"):
        unknown_cameras.tests_of("Market1501")


def test_every_row_is_measured_and_kept(tmp_path, monkeypatch, capsys) -> None:
    spec = ToySpec(num_train_ids=8, num_test_ids=8, num_cameras=6, num_distractors=2)
    render_toyreid(tmp_path / "data", spec)
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path / "data"))
    monkeypatch.setattr(finished_run, "train_and_report", save_untrained)
    line = ["--seeds", "1", "--out", str(tmp_path / "out"), *OPTIONS]
    assert unknown_cameras.main(line) == 0
    rows = json.loads((tmp_path / "out/unknown_cameras.json").read_text())
    assert list(rows) == [
        "no SIE",
        "SIE: mean",
        "SIE: zero",
        "SIE, dropout: mean",
        "SIE, dropout: zero",
    ]
    mean, zero = rows["SIE: mean"][0], rows["SIE: zero"][0]
    assert mean["seen (1-4)"] == zero["seen (1-4)"]
    assert mean["unseen cameras (5-6)"] != zero["unseen cameras (5-6)"]
    table = (tmp_path / "out/unknown_cameras.md").read_text()
    capsys.readouterr()

    monkeypatch.setattr(finished_run, "train_and_report", lambda *args: ({}, ""))
    monkeypatch.setattr(finished_run.DefaultTrainer, "test", pytest.fail)  # all is there
    unknown_cameras.main(line)
    assert table in capsys.readouterr().out


def test_rows_of_a_data_set(tmp_path, monkeypatch) -> None:
    write_market(tmp_path, num_cameras=4, images_per_camera=1)
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path))
    monkeypatch.setattr(finished_run, "train_and_report", save_untrained)
    line = ["--dataset", "Market1501", "--seeds", "1", "--out", str(tmp_path / "out"), *OPTIONS]
    assert unknown_cameras.main(line) == 0
    rows = json.loads((tmp_path / "out/unknown_cameras.json").read_text())
    columns = ["unseen cameras (3-4)", "both (1-4)", "seen (1-2)"]
    assert len(rows) == 5 and all([*runs[0]] == columns for runs in rows.values())
