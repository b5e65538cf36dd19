"""A training whose embedding collapses is named as such, once; a healthy one is not."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path

import pytest
import torch
from fastreid.engine import DefaultTrainer
from fastreid.utils.env import seed_all_rng
from reid_core.config import trainer_class
from torch.nn import functional as F
from transreid import resolve_side_information
from transreid.engine.embedding_watch import identity_cosine, loss_of_equal_features
from transreid.modeling.jpm_head import JPMHead


def test_cosine_against_hand_values() -> None:
    features = torch.tensor([[2.0, 0.0], [1.0, 0.0], [0.0, 5.0], [-3.0, 0.0]])
    # identities 0, 0, 1, 2: (0, 2), (1, 2) have 0; (0, 3), (1, 3) have -1; (2, 3) has 0: -2 / 5
    cosine = identity_cosine(features, torch.tensor([0, 0, 1, 2]))
    torch.testing.assert_close(cosine, torch.tensor(-0.4))
    assert identity_cosine(features, torch.zeros(4)) == 0  # one identity: no pair


def test_loss_of_equal_features(transreid_cfg) -> None:
    cfg = transreid_cfg
    cfg.MODEL.LOSSES.GLOBAL_WEIGHT = 0.5
    assert loss_of_equal_features(cfg) == pytest.approx(0.5 * math.log(2))
    cfg.MODEL.LOSSES.TRI.MARGIN, cfg.MODEL.LOSSES.TRI.SCALE = 0.3, 2.0
    assert loss_of_equal_features(cfg) == pytest.approx(0.3)  # 0.5 * 2 * 0.3
    cfg.MODEL.LOSSES.NAME = ("CrossEntropyLoss",)
    assert loss_of_equal_features(cfg) == 0


def train(cfg) -> list[dict]:
    Path(cfg.OUTPUT_DIR).mkdir(parents=True)
    resolve_side_information(cfg)
    trainer_class(cfg)(cfg).train()
    lines = (Path(cfg.OUTPUT_DIR) / "metrics.json").read_text().splitlines()
    return [json.loads(line) for line in lines]


@pytest.fixture
def cfg(transreid_cfg):
    transreid_cfg.SOLVER.MAX_EPOCH = 25  # 3 iterations each: the watch looks at each twentieth
    transreid_cfg.TEST.EVAL_PERIOD = 0
    transreid_cfg.SOLVER.WARMUP_EPOCHS = 0
    return transreid_cfg


def test_a_collapsed_run_is_named_once(cfg, monkeypatch, caplog) -> None:
    original = JPMHead.branch_features

    def equal(self, tokens):
        return [0.001 * feature + 1 for feature in original(self, tokens)]

    monkeypatch.setattr(JPMHead, "branch_features", equal)
    with caplog.at_level(logging.WARNING):
        rows = train(cfg)
    warnings = [record.getMessage() for record in caplog.records if "collapsed" in record.msg]
    assert len(warnings) == 1 and "HARD_MINING False" in warnings[0]
    last = next(row for row in reversed(rows) if "identity_cosine" in row)
    assert last["identity_cosine"] > 0.99
    assert last["triplet_of_collapse"] == pytest.approx(1, abs=0.05)


def test_a_healthy_run_is_not(cfg, caplog) -> None:
    cfg.MODEL.LOSSES.TRI.HARD_MINING = False
    with caplog.at_level(logging.WARNING):
        rows = train(cfg)
    assert not [record for record in caplog.records if "collapsed" in record.msg]
    assert any("identity_cosine" in row for row in rows)


def test_it_does_not_change_the_training(cfg, tmp_path) -> None:
    """The same losses as with FastReID's own trainer."""
    cfg.SOLVER.MAX_EPOCH = 8
    seed_all_rng(1)
    watched = [row["total_loss"] for row in train(cfg) if "total_loss" in row]
    cfg.OUTPUT_DIR = str(tmp_path / "unwatched")
    Path(cfg.OUTPUT_DIR).mkdir()
    seed_all_rng(1)
    DefaultTrainer(cfg).train()
    lines = (tmp_path / "unwatched" / "metrics.json").read_text().splitlines()
    assert watched == [r["total_loss"] for r in map(json.loads, lines) if "total_loss" in r]


def test_the_centered_feature(transreid_cfg) -> None:
    """Before BN, less BN's mean: of hand-made statistics, for the baseline and all parts."""
    cfg = transreid_cfg
    resolve_side_information(cfg)
    cfg.MODEL.HEADS.NUM_CLASSES = 4
    model = trainer_class(cfg).build_model(cfg).eval()
    batch = {"images": torch.rand(2, 3, 64, 32) * 255, "camids": torch.tensor([0, 1])}
    for part, neck in enumerate(model.heads.necks):
        neck.bottleneck.running_mean[:] = part + 1.0
    with torch.no_grad():
        before = model(batch)
        model.heads.test_neck_feat = "centered"
        centered = model(batch)
    # f_g less 1, then (f_l - part) / 4
    means = [torch.full((192,), (i + 1) / (4 if i else 1)) for i in range(5)]
    torch.testing.assert_close(centered, before - torch.cat(means))
    assert F.normalize(centered).isfinite().all()
