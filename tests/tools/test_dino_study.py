"""The study of DINO against training from scratch, in miniature: everything real but the sizes."""

from __future__ import annotations

import json
import re

import pytest
from reid_commands.studies import dino as dino_study
from reid_core.data.opened_sets import opened_set
from small_studies import command_line, draw_data
from synthetic import write_market
from transreid import load_config, training

OPTIONS = {
    "DINO.LOCAL_VIEWS": 1,
    "SOLVER.MAX_EPOCH": 2,
    "SOLVER.WARMUP_EPOCHS": 1,
    "TEST.EVAL_PERIOD": 2,
}


def test_the_study_in_miniature(tmp_path, monkeypatch, capsys) -> None:
    data = tmp_path / "data"
    draw_data(data, 40)
    monkeypatch.setenv("FASTREID_DATASETS", str(data))
    out = tmp_path / "out"
    line = command_line(out, OPTIONS)
    assert dino_study.main(line) == 0
    scores = json.loads((out / "dino_study.json").read_text())
    assert list(scores) == ["from scratch", "DINO on ToyUnlabeled"]
    assert all(runs[0]["mAP"] > 0 for runs in scores.values())
    log = (out / "dino" / "seed1" / "log.txt").read_text()
    assert "teacher_backbone.pth" in log and "100% of the ViT's weights" in log
    table = (out / "dino_study.md").read_text()
    capsys.readouterr()

    monkeypatch.setattr(training, "train_or_evaluate", pytest.fail)  # all is there
    dino_study.main(line)
    printed = capsys.readouterr().out
    assert table in printed
    gain = scores["DINO on ToyUnlabeled"][0]["mAP"] - scores["from scratch"][0]["mAP"]
    assert f"DINO changes mAP by {gain:+.1f}." in printed
    assert re.search(r"Pre-training took \d+\.\d minutes\.", printed)


def test_photographs_and_numbers_of_identities(tmp_path, monkeypatch) -> None:
    write_market(tmp_path, num_train_ids=6)
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path))
    line = ["--dataset", "Market1501:identities=5,seed=1", "--pool", "ImageFolder:/data/my crops"]
    args = dino_study.parser().parse_args([*line, "--identities", "2", "4"])
    arms = [*dino_study.STUDY.arms(args)]
    assert [arm.title for arm in arms] == [
        "from scratch, 2 identities",
        "DINO on ImageFolder:/data/my crops, 2 identities",
        "from scratch, 4 identities",
        "DINO on ImageFolder:/data/my crops, 4 identities",
    ]
    assert [arm.folder for arm in arms[:2]] == ["scratch_2", "dino_ImageFolder_data_my_crops_2"]
    for arm, count in zip(arms, (2, 2, 4, 4), strict=True):
        cfg = load_config(arm.config, arm.options)
        assert (f"Market1501:identities={count},seed=1",) == cfg.DATASETS.NAMES
        assert cfg.DATASETS.TESTS == ("Market1501:identities=5,seed=1",)
        assert len({item[1] for item in opened_set(cfg.DATASETS.NAMES[0]).train.items}) == count
    pairs = []
    monkeypatch.setattr(training, "train_or_evaluate", pairs.append)
    assert arms[1].prepare is not None
    arms[1].prepare(tmp_path / "out", 3, ["MODEL.DEVICE", "cpu"])
    cfg = load_config(pairs[0].config_file, pairs[0].opts)
    assert cfg.DATASETS.NAMES == ("ImageFolder:/data/my crops",)
    assert cfg.DATASETS.TESTS == ("Market1501:identities=5,seed=1",)
    assert str(tmp_path / "out/pretrain_ImageFolder_data_my_crops/seed3") == cfg.OUTPUT_DIR


def test_the_verdict_of_each_number_of_identities() -> None:
    titles = [
        f"{what}, {count} identities" for count in (50, 100) for what in ("from scratch", "x")
    ]
    scores = {title: [{"mAP": float(value)}] for value, title in enumerate(titles)}
    assert dino_study.verdict(scores).splitlines() == [
        "With 50 identities, DINO changes mAP by +1.0.",
        "With 100 identities, DINO changes mAP by +1.0.",
    ]


def test_the_verdict_by_hand() -> None:
    rows = [dino_study.SCRATCH_TITLE, dino_study.DINO_TITLE]
    runs = [[{"mAP": 5.0}, {"mAP": 6.0}], [{"mAP": 8.0}, {"mAP": 7.0}]]
    scores = dict(zip(rows, runs, strict=True))
    # Gains 3 and 1: mean 2, standard deviation sqrt(2).
    assert dino_study.verdict(scores) == "DINO changes mAP by +2.0 ± 1.4 over 2 seeds."
