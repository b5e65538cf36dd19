"""The study of methods of pre-training, and the cost of a step, in miniature."""

from __future__ import annotations

import argparse
import json

import pytest
from reid_commands.benchmarks import ssl_step
from reid_commands.benchmarks.harness import PEAK, WALL
from reid_commands.studies import ssl as ssl_study
from reid_core.config import load_config
from small_studies import command_line, draw_data
from transreid import training

OPTIONS = {
    "MOCO.HIDDEN_DIM": 32,
    "MOCO.QUEUE_SIZE": 16,
    "SOLVER.MAX_EPOCH": 1,
    "SOLVER.WARMUP_EPOCHS": 0,
    "TEST.EVAL_PERIOD": 1,
}


def test_the_study_in_miniature(tmp_path, monkeypatch, capsys) -> None:
    data = tmp_path / "data"
    draw_data(data, 24)
    monkeypatch.setenv("FASTREID_DATASETS", str(data))
    out = tmp_path / "out"
    line = command_line(out, OPTIONS, "--methods", "MoBY")
    assert ssl_study.main(line) == 0
    scores = json.loads((out / "ssl_study.json").read_text())
    assert list(scores) == ["from scratch", "MoBY"]
    log = (out / "MoBY" / "seed1" / "log.txt").read_text()
    assert "pretrain_MoBY/seed1/online_backbone.pth" in log and "100% of the ViT's weights" in log
    capsys.readouterr()

    monkeypatch.setattr(training, "train_or_evaluate", pytest.fail)  # all is there
    ssl_study.main(line)
    printed = capsys.readouterr().out
    gain = scores["MoBY"][0]["mAP"] - scores["from scratch"][0]["mAP"]
    assert f"MoBY: mAP {gain:+.1f} over training from scratch; pre-training " in printed
    assert "Synthetic: ToyUnlabeled and ToyReID." in printed


def test_every_method_sees_the_same_images_as_often() -> None:
    cfgs = [load_config(path) for path in ssl_study.CONFIGS.values()]
    assert [cfg.MODEL.META_ARCHITECTURE for cfg in cfgs] == list(ssl_study.CONFIGS)
    for cfg in cfgs:
        assert cfg.DATASETS.NAMES == cfgs[0].DATASETS.NAMES
        assert cfg.SOLVER.MAX_EPOCH == cfgs[0].SOLVER.MAX_EPOCH
        assert cfg.SOLVER.IMS_PER_BATCH == cfgs[0].SOLVER.IMS_PER_BATCH
        for key in ("TIMM_NAME", "NUM_BLOCKS", "NUM_HEADS", "STEM"):
            assert cfg.MODEL.BACKBONE[key] == cfgs[0].MODEL.BACKBONE[key]


@pytest.mark.parametrize("method", ["IBOT", "MoCoV2", "MoCoV3"])
def test_the_cost_of_a_step(method: str) -> None:
    small = ["MODEL.BACKBONE.NUM_BLOCKS", 1, "DINO.OUT_DIM", 32, "DINO.LOCAL_VIEWS", 0]
    small += ["MOCO.QUEUE_SIZE", 8, "MOCO.HIDDEN_DIM", 32]
    args = argparse.Namespace(backbone="vit_small", batch=2, steps=1, options=small)
    sample = ssl_step.measure(method, args)
    assert sample[WALL] > 0 and PEAK in sample
    assert [
        load_config(ssl_step.config_of(m, "vit_small")).MODEL.META_ARCHITECTURE
        for m in ssl_step.METHODS
    ] == [*ssl_step.METHODS]
