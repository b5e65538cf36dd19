"""The studies of pre-training in miniature: everything real but the sizes."""

from __future__ import annotations

import json
import re

import pytest
from reid_commands.studies import dino as dino_study
from reid_commands.studies import pretraining
from reid_commands.studies import ssl as ssl_study
from reid_common.errors import UserError
from reid_core.data.opened_sets import opened_set
from synthetic import write_market
from toyreid.people import ToySpec, render_toyreid
from toyreid.pool.plan import PoolSpec
from toyreid.pool.render import render_pool
from transreid import load_config, training

OPTIONS = {
    "MODEL.DEVICE": "cpu",
    "MODEL.BACKBONE.NUM_BLOCKS": 1,
    "DINO.OUT_DIM": 32,
    "DINO.HIDDEN_DIM": 32,
    "DINO.LOCAL_VIEWS": 0,
    "MOCO.HIDDEN_DIM": 32,
    "MOCO.QUEUE_SIZE": 16,
    "PRETRAIN.MOCO.QUEUE_SIZE": 24,
    "DINO.STOP_ON_COLLAPSE": False,
    "DATALOADER.NUM_WORKERS": 0,
    "DATALOADER.NUM_INSTANCE": 2,
    "SOLVER.IMS_PER_BATCH": 8,
    "SOLVER.MAX_EPOCH": 2,
    "SOLVER.WARMUP_EPOCHS": 1,
    "SOLVER.WARMUP_ITERS": 0,
    "TEST.EVAL_PERIOD": 2,
}


def test_the_studies_in_miniature(tmp_path, monkeypatch, capsys) -> None:
    data = tmp_path / "data"
    render_toyreid(data, ToySpec(num_train_ids=8, num_test_ids=6, num_distractors=2))
    render_pool(data, PoolSpec(num_images=40))
    monkeypatch.setenv("FASTREID_DATASETS", str(data))
    options = [str(part) for pair in OPTIONS.items() for part in pair]
    out = tmp_path / "out"
    line = ["--seeds", "1", *options, "--out", str(out)]
    of_methods = [*line, "--methods", "DINO", "MoBY"]
    assert dino_study.main(line) == 0
    scores = json.loads((out / "dino_study.json").read_text())
    assert list(scores) == ["from scratch", "DINO on ToyUnlabeled"]
    assert all(runs[0]["mAP"] > 0 for runs in scores.values())
    log = (out / "dino" / "seed1" / "log.txt").read_text()
    assert "teacher_backbone.pth" in log and "100% of the ViT's weights" in log
    table = (out / "dino_study.md").read_text()
    capsys.readouterr()

    assert ssl_study.main(of_methods) == 0  # DINO is there
    others = json.loads((out / "ssl_study.json").read_text())
    assert list(others) == ["from scratch", "DINO", "MoBY"]
    assert [others["from scratch"], others["DINO"]] == [*scores.values()]
    log = (out / "MoBY" / "seed1" / "log.txt").read_text()
    assert "pretrain_MoBY/seed1/online_backbone.pth" in log and "100% of the ViT's weights" in log
    assert load_config(str(out / "pretrain_MoBY" / "seed1" / "config.yaml")).MOCO.QUEUE_SIZE == 24
    capsys.readouterr()

    def not_again(args: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(training, "train_or_evaluate", not_again)  # all is there
    ssl_study.main(of_methods)
    (out / "pretrain_MoBY" / "seed1" / "pretraining.json").rename(tmp_path / "kept.json")
    with pytest.raises(SystemExit):  # as if killed before its end
        ssl_study.main([*of_methods, "PRETRAIN.SOLVER.BASE_LR", "0.1"])
    assert "other settings: SOLVER.BASE_LR was " in capsys.readouterr().err
    with pytest.raises(AssertionError, match="trained again"):  # resumes with its own
        ssl_study.main(of_methods)
    (tmp_path / "kept.json").rename(out / "pretrain_MoBY" / "seed1" / "pretraining.json")
    ssl_study.main(of_methods)
    printed = capsys.readouterr().out
    gain = others["MoBY"][0]["mAP"] - others["from scratch"][0]["mAP"]
    assert f"MoBY: mAP {gain:+.1f} over training from scratch; pre-training " in printed
    assert "Synthetic: ToyUnlabeled and ToyReID." in printed
    with pytest.raises(SystemExit):
        ssl_study.main([*of_methods, "PRETRAIN.MOCO.QUEUE_SIZE", "32"])
    assert "other settings: MOCO.QUEUE_SIZE was 24, now it is 32" in capsys.readouterr().err
    dino_study.main(line)
    printed = capsys.readouterr().out
    assert table in printed
    gain = scores["DINO on ToyUnlabeled"][0]["mAP"] - scores["from scratch"][0]["mAP"]
    assert f"DINO changes mAP by {gain:+.1f}." in printed
    assert re.search(r"Pre-training took \d+\.\d minutes\.", printed)


def test_every_method_sees_the_same_images_as_often() -> None:
    cfgs = [load_config(path) for path in pretraining.METHODS.values()]
    assert [cfg.MODEL.META_ARCHITECTURE for cfg in cfgs] == list(pretraining.METHODS)
    for cfg in cfgs:
        assert cfg.DATASETS.NAMES == cfgs[0].DATASETS.NAMES
        assert cfg.SOLVER.MAX_EPOCH == cfgs[0].SOLVER.MAX_EPOCH
        assert cfg.SOLVER.IMS_PER_BATCH == cfgs[0].SOLVER.IMS_PER_BATCH
        for key in ("TIMM_NAME", "NUM_BLOCKS", "NUM_HEADS", "STEM"):
            assert cfg.MODEL.BACKBONE[key] == cfgs[0].MODEL.BACKBONE[key]


def test_photographs_and_numbers_of_identities(tmp_path, monkeypatch) -> None:
    write_market(tmp_path, num_train_ids=6)
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path))
    line = ["--dataset", "Market1501:identities=5,seed=1", "--pool", "ImageFolder:/data/my crops"]
    args = dino_study.parser().parse_args([*line, "--identities", "2", "4"])
    args.opts = ["PRETRAIN.SOLVER.MAX_EPOCH", "3"]
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
        # As many iterations on fewer images.
        assert {2: 12, 4: 6}[count] == cfg.SOLVER.MAX_EPOCH == cfg.TEST.EVAL_PERIOD
    pairs = []
    monkeypatch.setattr(training, "train_or_evaluate", pairs.append)
    assert arms[1].prepare is not None
    arms[1].prepare(tmp_path / "out", 3, ["MODEL.DEVICE", "cpu"])
    cfg = load_config(pairs[0].config_file, pairs[0].opts)
    assert cfg.DATASETS.NAMES == ("ImageFolder:/data/my crops",)
    assert cfg.DATASETS.TESTS == ("Market1501:identities=5,seed=1",)
    assert str(tmp_path / "out/pretrain_ImageFolder_data_my_crops/seed3") == cfg.OUTPUT_DIR
    assert cfg.SOLVER.MAX_EPOCH == 3
    args.opts = ["PRETRAIN.SOLVER.MAX_EPOCHS", "3"]
    with pytest.raises(UserError, match=r"SOLVER\.MAX_EPOCHS"):
        next(dino_study.arms(args))
    args.opts, args.identities = [], [2, 4, 2]
    with pytest.raises(UserError, match="--identities 2 4 2 names one twice"):
        next(dino_study.arms(args))


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
    rows = ["from scratch", "DINO on ToyUnlabeled"]
    runs = [[{"mAP": 5.0}, {"mAP": 6.0}], [{"mAP": 8.0}, {"mAP": 7.0}]]
    scores = dict(zip(rows, runs, strict=True))
    # Gains 3 and 1: mean 2, standard deviation sqrt(2).
    assert dino_study.verdict(scores) == "DINO changes mAP by +2.0 ± 1.4 over 2 seeds."
