"""TransReID through FastReID's trainer, and mixed with FastReID's own parts."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from fastreid.engine import DefaultTrainer
from fastreid.modeling import build_model
from fastreid.utils.checkpoint import Checkpointer
from reid_common.errors import UserError
from reid_core.side_information.stored import decode_table
from synthetic import write_market
from transreid import resolve_side_information
from transreid.weights.formats import side_information_of_weights


def train(cfg):
    """Train with the real trainer; returns it."""
    Path(cfg.OUTPUT_DIR).mkdir(parents=True, exist_ok=True)
    resolve_side_information(cfg)
    trainer = DefaultTrainer(cfg)
    trainer.resume_or_load(resume=True)
    trainer.train()
    return trainer


def losses_of(cfg) -> list[float]:
    rows = (Path(cfg.OUTPUT_DIR) / "metrics.json").read_text().splitlines()
    return [row["total_loss"] for row in map(json.loads, rows) if "total_loss" in row]


def test_transreid_trains_and_saves_its_cameras(transreid_cfg) -> None:
    cfg = transreid_cfg
    cfg.SOLVER.MAX_EPOCH = 4
    resolve_side_information(cfg)
    assert cfg.MODEL.SIE.NUM_CAMERAS == 3  # from the training set
    torch.manual_seed(0)
    trainer = train(cfg)
    losses = losses_of(cfg)
    assert losses[-1] < losses[0]
    weights = torch.load(Path(cfg.OUTPUT_DIR) / "model_final.pth", weights_only=True)["model"]
    assert decode_table(weights["backbone.sie.camera_table"]) == "market1501:3"
    cfg.MODEL.HEADS.NUM_CLASSES = 4
    model = build_model(cfg)
    Checkpointer(model).load(str(Path(cfg.OUTPUT_DIR) / "model_final.pth"))
    batch = {
        "images": torch.rand(2, 3, 64, 32) * 255,
        "camids": torch.tensor([0, 2]),
    }
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(batch), trainer.model.eval()(batch))


@pytest.mark.parametrize("head", ["EmbeddingHead", "BNNeckHead"])
def test_the_backbone_under_fastreids_baseline(transreid_cfg, head: str) -> None:
    cfg = transreid_cfg
    cfg.MODEL.META_ARCHITECTURE = "Baseline"
    cfg.MODEL.HEADS.NAME = head
    cfg.MODEL.SIE.CAMERA = False
    cfg.SOLVER.MAX_EPOCH = 4
    trainer = train(cfg)
    assert losses_of(cfg)[-1] < losses_of(cfg)[0]
    assert trainer._last_eval_results["mAP"] > 0


def test_transreid_with_fastreids_head_and_losses(transreid_cfg) -> None:
    cfg = transreid_cfg
    cfg.MODEL.HEADS.NAME = "EmbeddingHead"
    cfg.MODEL.LOSSES.NAME = ("CrossEntropyLoss", "CircleLoss", "Cosface")
    train(cfg)
    assert torch.isfinite(torch.tensor(losses_of(cfg))).all()


def test_jpm_under_fastreids_baseline_says_what_to_do(transreid_cfg) -> None:
    transreid_cfg.MODEL.META_ARCHITECTURE = "Baseline"
    transreid_cfg.MODEL.SIE.CAMERA = False
    transreid_cfg.MODEL.HEADS.NUM_CLASSES = 2
    model = build_model(transreid_cfg).eval()
    with pytest.raises(UserError, match="META_ARCHITECTURE TransReID"):
        model({"images": torch.zeros(1, 3, 64, 32)})


def test_killed_and_resumed_equals_uninterrupted(transreid_cfg, tmp_path) -> None:
    cfg = transreid_cfg
    cfg.MODEL.BACKBONE.DROP_PATH_RATIO = 0.2  # noise that must be repeated too
    cfg.MODEL.SIE.CAMERA_DROPOUT = 0.3
    cfg.INPUT.FLIP.ENABLED = cfg.INPUT.PADDING.ENABLED = cfg.INPUT.REA.ENABLED = True
    cfg.SOLVER.MAX_EPOCH, cfg.TEST.EVAL_PERIOD = 3, 3

    def start(folder: str) -> DefaultTrainer:
        run = cfg.clone()
        run.OUTPUT_DIR = str(tmp_path / folder)
        Path(run.OUTPUT_DIR).mkdir(exist_ok=True)
        resolve_side_information(run)
        torch.manual_seed(cfg.SEED)
        return DefaultTrainer(run)

    uninterrupted = start("a")
    uninterrupted.train()

    killed = start("b")
    step, count = killed.run_step, []

    def run_step() -> None:
        count.append(1)
        if len(count) > 5:  # in the middle of the second epoch of 3 iterations
            raise KeyboardInterrupt
        step()

    killed.run_step = run_step
    with pytest.raises(KeyboardInterrupt):
        killed.train()
    resumed = start("b")
    resumed.resume_or_load(resume=True)
    assert resumed.start_epoch == 1
    resumed.train()
    expected = uninterrupted.model.state_dict()
    for name, value in resumed.model.state_dict().items():
        torch.testing.assert_close(value, expected[name], msg=name)


def test_fifteen_cameras_read_the_same_rows_in_training_and_testing(
    transreid_cfg, tmp_path, monkeypatch
) -> None:
    """Market-1501's pattern has one digit, so this is MSMT17's naming of cameras: two digits."""
    from fastreid.data import CommDataset, build_reid_test_loader, build_reid_train_loader
    from fastreid.data.datasets import DATASET_REGISTRY
    from fastreid.data.datasets.bases import ImageDataset

    write_market(tmp_path, num_train_ids=4, num_test_ids=2, num_cameras=15, images_per_camera=1)
    folder = tmp_path / "Market-1501-v15.09.15"

    def items(split: str, train: bool) -> list[tuple]:
        found = []
        for path in sorted((folder / split).glob("*.jpg")):
            pid, camera = map(int, re.match(r"(\d+)_c(\d+)", path.name).groups())
            ids = (f"fifteen_{pid}", f"fifteen_{camera - 1}") if train else (pid, camera - 1)
            found.append((str(path), *ids))
        return found

    class FifteenCameras(ImageDataset):
        dataset_name = "fifteen"

        def __init__(self, root: str = "", **kwargs: object) -> None:
            splits = ("bounding_box_train", "query", "bounding_box_test")
            super().__init__(*(items(s, s.endswith("train")) for s in splits), **kwargs)

    monkeypatch.setitem(DATASET_REGISTRY._obj_map, "FifteenCameras", FifteenCameras)
    cfg = transreid_cfg
    cfg.DATASETS.NAMES = cfg.DATASETS.TESTS = ("FifteenCameras",)
    cfg.DATALOADER.NUM_WORKERS = 0
    resolve_side_information(cfg)
    assert cfg.MODEL.SIE.NUM_CAMERAS == 15

    def in_name(path: str) -> int:
        return int(re.search(r"_c(\d+)s", path)[1]) - 1

    train_loader = build_reid_train_loader(cfg)
    items_of = train_loader.dataset
    rows = {in_name(items_of[i]["img_paths"]): items_of[i]["camids"] for i in range(len(items_of))}
    assert rows == {camera: camera for camera in range(15)}
    test_loader, _ = build_reid_test_loader(cfg, dataset_name="FifteenCameras")
    for batch in test_loader:
        assert [rows[in_name(p)] for p in batch["img_paths"]] == batch["camids"].tolist()

    # FastReID's own relabelling, over sorted strings, would have read other rows: 1 10 11 ... 2 3.
    theirs = sorted({camera for _, _, camera in FifteenCameras().train})
    fastreids = {int(name.rsplit("_")[-1]): row for row, name in enumerate(theirs)}
    assert sum(fastreids[camera] != row for camera, row in rows.items()) == 13
    assert isinstance(items_of, CommDataset)

    # The stored table serves an evaluation on a machine that does not have the training set.
    trainer = train(cfg)
    weights = Path(trainer.cfg.OUTPUT_DIR) / "model_final.pth"
    elsewhere = cfg.clone()
    elsewhere.DATASETS.CAMERAS, elsewhere.MODEL.SIE.NUM_CAMERAS = (), 0
    elsewhere.DATASETS.NAMES = ("MSMT17",)
    elsewhere.MODEL.WEIGHTS = str(weights)
    resolve_side_information(elsewhere, side_information_of_weights(elsewhere))
    assert elsewhere.DATASETS.CAMERAS == ("fifteen:15",)
    assert elsewhere.MODEL.SIE.NUM_CAMERAS == 15
