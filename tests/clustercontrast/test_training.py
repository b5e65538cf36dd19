"""Whole runs through the real trainer: they learn, resume, and leave what they promise."""

from __future__ import annotations

import csv
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from clustercontrast.clustering.check import check_labels
from clustercontrast.data.images import CommDataset
from clustercontrast.engine import pseudo_labels
from clustercontrast.memory.cluster_memory import ClusterMemory
from device_waits import counted
from fastreid.engine import DefaultTrainer
from fastreid.engine.train_loop import HookBase
from fastreid.utils.events import EventStorage
from fastreid_compat.repairs.training.metrics import read_metrics
from PIL import Image
from reid_common.errors import UserError
from reid_core.data.opened_sets import opened_set
from reid_core.run.validation import validate_config
from small_clusters import small_cluster_cfg, start, write_persons
from torch.nn import functional as F


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("persons")
    write_persons(root)
    return root


@pytest.fixture(autouse=True)
def _data(root, monkeypatch) -> None:
    monkeypatch.setenv("FASTREID_DATASETS", str(root))


@pytest.fixture(scope="module")
def whole(root, tmp_path_factory) -> Path:
    """Folder of an uninterrupted run."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FASTREID_DATASETS", str(root))
        start(small_cluster_cfg(folder)).train()
    return folder


def checkpoint(folder: Path, name: str = "model_final") -> dict:
    return torch.load(folder / f"{name}.pth", weights_only=False)


def test_weights_move_and_the_neck_follows(whole) -> None:
    first, last = (checkpoint(whole, name)["model"] for name in ("model_0000", "model_final"))
    moved = [name for name in first if not torch.equal(first[name], last[name])]
    assert "backbone.cls_token" in moved
    assert "heads.neck.bottleneck.running_mean" in moved
    assert not any("memory" in name for name in last), "the memory is not part of the weights"


def test_no_step_waits_and_wrong_labels_are_named() -> None:
    """Forward and backward pass of the memory as in a training, whose metrics are read later."""
    memory, features = ClusterMemory(), torch.randn(8, 4, requires_grad=True)
    memory.begin(F.normalize(torch.randn(5, 4)))
    with EventStorage() as storage:
        with counted() as operators:
            memory(features, torch.arange(8) // 2).backward()
        assert operators.waits == {}
        read_metrics(storage)
        memory(features, torch.arange(8)).backward()
        with pytest.raises(ValueError, match="labels 0 to 7, a memory of 5 rows"):
            read_metrics(storage)
    with pytest.raises(ValueError, match="labels 0 to 7, a memory of 5 rows"):
        memory(features, torch.arange(8))


def test_labels_and_memory_are_in_the_checkpoint(whole) -> None:
    state = checkpoint(whole)["pseudo_labels"]
    clusters = int(state["labels"].max()) + 1
    assert len(state["labels"]) == 48 and state["eps"] == 0.7
    assert state["memory"].shape == state["centres"].shape == (clusters, 192)
    torch.testing.assert_close(state["memory"].norm(dim=1), torch.ones(clusters))
    assert not torch.equal(state["memory"], state["centres"])


def test_metrics_and_reports(whole) -> None:
    lines = [json.loads(line) for line in (whole / "metrics.json").read_text().splitlines()]
    last = lines[-1]
    assert {"clusters", "outliers", "cluster_size", "largest_cluster", "ari_before"} <= set(last)
    assert 0 < last["purity"] <= 1 and -1 <= last["ari_identities"] <= 1
    assert "mAP" in last
    with Image.open(whole / "clusters" / "epoch_0001.png") as image:
        assert image.width > 100


def test_no_best_checkpoint_by_the_test_set(whole) -> None:
    assert not (whole / "model_best.pth").exists()


def test_the_table_trains(whole) -> None:
    labels = checkpoint(whole)["pseudo_labels"]["labels"].numpy()
    with open(whole / "pseudo_labels.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == (labels >= 0).sum()
    train = opened_set(f"CSVReID:{whole / 'pseudo_labels.csv'}").train
    assert len(set(train.identities)) == labels.max() + 1
    assert len(set(train.cameras)) == 3


def dying(function: Any, when: Callable[[], bool]) -> Callable[..., Any]:
    """A function that ends the process at once where ``when()``."""

    def call(*args: Any, **kwargs: Any) -> Any:
        if when():
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)

    return call


def train_and_die(folder: Path, place: str) -> None:
    """Run in a fork of the test: dies by SIGKILL in the second epoch, at ``place``."""
    trainer = start(small_cluster_cfg(folder))

    def second() -> bool:
        return getattr(trainer, "epoch", 0) == 1

    if place == "extraction":
        CommDataset.__getitem__ = dying(CommDataset.__getitem__, second)
    elif place == "clustering":
        pseudo_labels.close_pairs = dying(pseudo_labels.close_pairs, second)
    else:
        trainer.run_step = dying(trainer.run_step, lambda: trainer.iter == 4)
    trainer.train()


@pytest.mark.parametrize("place", ["extraction", "clustering", "training"])
def test_killed_and_resumed(place, whole, tmp_path) -> None:
    """kill -9 in the second epoch; the resumed run ends with the same weights and labels."""
    child = os.fork()
    if child == 0:
        try:
            train_and_die(tmp_path, place)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert (tmp_path / "model_0000.pth").exists()
    assert not (tmp_path / "model_final.pth").exists()
    start(small_cluster_cfg(tmp_path), resume=True).train()
    ours, expected = checkpoint(tmp_path), checkpoint(whole)
    for name, value in expected["model"].items():
        assert torch.equal(ours["model"][name], value), name
    for name in ("labels", "memory"):
        assert torch.equal(ours["pseudo_labels"][name], expected["pseudo_labels"][name])


def test_best_by_test_if_asked_for(tmp_path) -> None:
    cfg = small_cluster_cfg(tmp_path, ("CLUSTER.BEST_BY", "test", "CLUSTER.REPORT_PERIOD", 0))
    cfg.SOLVER.MAX_EPOCH = cfg.TEST.EVAL_PERIOD = 1
    start(cfg).train()
    assert (tmp_path / "model_best.pth").exists()
    assert not (tmp_path / "clusters").exists()


def test_resnet_and_side_information(tmp_path) -> None:
    cfg = small_cluster_cfg(tmp_path)
    cfg.MODEL.BACKBONE.NAME, cfg.MODEL.BACKBONE.DEPTH = "build_resnet_backbone", "18x"
    cfg.MODEL.BACKBONE.FEAT_DIM = 512
    cfg.MODEL.HEADS.POOL_LAYER = "GeneralizedMeanPoolingP"
    cfg.CLUSTER.UPDATE, cfg.CLUSTER.EPS = "each", "auto"
    cfg.SOLVER.MAX_EPOCH = cfg.TEST.EVAL_PERIOD = 1
    trainer = start(cfg)
    trainer.train()
    missing = [n for n, p in trainer.model.named_parameters() if p.requires_grad and p.grad is None]
    assert not missing


def test_every_parameter_gets_a_gradient_with_cameras(tmp_path) -> None:
    cfg = small_cluster_cfg(tmp_path, ("MODEL.SIE.CAMERA", True, "MODEL.SIE.NUM_CAMERAS", 3))
    cfg.SOLVER.MAX_EPOCH, cfg.TEST.EVAL_PERIOD = 1, 0
    trainer = start(cfg)
    trainer.train()
    missing = [n for n, p in trainer.model.named_parameters() if p.requires_grad and p.grad is None]
    assert not missing


def test_tracklets_in_a_run(root, tmp_path) -> None:
    """An identity under one camera is a tracklet; each has one label."""
    names = sorted(p for p in root.glob("*/bounding_box_train/*.jpg"))
    tracks = [name.name[:7] for name in names]
    rows = (f"{name},{track}" for name, track in zip(names, tracks, strict=True))
    (tmp_path / "tracks.csv").write_text("\n".join(["image,tracklet", *rows]) + "\n")
    cfg = small_cluster_cfg(tmp_path, ("CLUSTER.TRACKLETS", str(tmp_path / "tracks.csv")))
    cfg.SOLVER.MAX_EPOCH, cfg.TEST.EVAL_PERIOD, cfg.CLUSTER.ITERATIONS = 1, 0, 1
    start(cfg).train()
    labels = checkpoint(tmp_path)["pseudo_labels"]["labels"].tolist()
    assert len(set(zip(tracks, labels, strict=True))) == len(set(tracks)) == 24


def test_a_wrong_table_of_tracklets_ends_before_the_model(tmp_path, monkeypatch) -> None:
    (tmp_path / "tracks.csv").write_text("image,track\n")
    cfg = small_cluster_cfg(tmp_path, ("CLUSTER.TRACKLETS", str(tmp_path / "tracks.csv")))
    monkeypatch.setattr(DefaultTrainer, "build_model", lambda cfg: pytest.fail("built a model"))
    with pytest.raises(UserError, match=r"tracks\.csv.*tracklet"):
        start(cfg)


class _Stop(HookBase):
    def before_step(self) -> None:
        raise KeyboardInterrupt


def crops(folder: Path, count: int, same: bool = False) -> Path:
    """Images without labels under two cameras, and one of no camera."""
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (4, 2, 3)).astype(np.uint8)
    for number in range(count):
        if not same:
            pixels = random.integers(0, 256, (4, 2, 3)).astype(np.uint8)
        place = folder / ("door" if number % 2 else "hall") / f"{number:03d}.png"
        if number == 0:
            place = folder / "000.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).resize((32, 64)).save(place)
    return folder


@pytest.mark.parametrize(
    "count, same, options, message",
    [
        (10, False, ("CLUSTER.EPS", "1.0", "CLUSTER.MIN_SAMPLES", "2"), "cluster"),
        (40, True, (), "one cluster of 40 images"),
        (40, False, ("CLUSTER.EPS", "0.01"), "no cluster of 40 images"),
        (40, False, ("CLUSTER.EPS", "auto", "CLUSTER.MIN_SAMPLES", "30"), "no eps gives 4"),
    ],
)
def test_clusters_that_teach_nothing(count, same, options, message, tmp_path) -> None:
    cfg = small_cluster_cfg(tmp_path / "logs", options)
    cfg.DATASETS.NAMES = (f"Crops:{crops(tmp_path / 'crops', count, same)}",)
    cfg.DATASETS.TESTS, cfg.TEST.EVAL_PERIOD = (), 0
    trainer = start(cfg)
    trainer.register_hooks([_Stop()])
    with pytest.raises(UserError, match=message):
        trainer.train()


def test_mostly_outliers_end_a_run() -> None:
    labels = np.array([0, 0, 1, 1, *[-1] * 96])
    with pytest.raises(UserError, match=r"2 clusters .* 96.0% outliers.*MAX_OUTLIERS"):
        check_labels(labels, 0.5, 0.9)
    check_labels(labels, 0.5, 1.0)


@pytest.mark.parametrize(
    "options, message",
    [
        (("MODEL.HEADS.NAME", "JPMHead"), "one feature an image"),
        (("MODEL.HEADS.TEST_NECK_FEAT", "before"), "set it to after"),
        (("DATALOADER.SAMPLER_TRAIN", "NaiveIdentitySampler"), "CameraClusterSampler"),
        (("CLUSTER.BN_GROUP", 7), "CLUSTER.BN_GROUP is 7"),
        (("MODEL.HEADS.POOL_LAYER", "GeneralizedMeanPoolingP"), "GlobalAvgPool"),
        (("CLUSTER.EPS", "1.5"), "CLUSTER.EPS"),
        (("TEST.PRECISE_BN.ENABLED", True), "PRECISE_BN"),
        (("DATALOADER.NUM_INSTANCE", 3), "no multiple"),
    ],
)
def test_settings_that_cannot_work(options, message, tmp_path) -> None:
    with pytest.raises(UserError, match=message):
        validate_config(small_cluster_cfg(tmp_path, options))
