"""Viewpoints of VeRi-776 from its keypoint files."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from fastreid.data import build_reid_test_loader, build_reid_train_loader
from fastreid.engine import default_argument_parser
from PIL import Image
from reid_common.errors import UserError
from reid_core.data.opening import open_dataset
from transreid import resolve_side_information, training

KEYPOINTS = " ".join(["-1 -1", "31 40"] * 10)  # 20 keypoints, x and y
REPOSITORY = "VehicleReIDKeyPointData/VehicleReIDKeyPointData-master"


@pytest.fixture
def veri(tmp_path, monkeypatch) -> Path:
    """A data root with VeRi's layout: 4 vehicles, 2 of them for training, 3 cameras each."""
    root = tmp_path / "data"
    rng = np.random.default_rng(0)
    for split, vehicles in {
        "image_train": (1, 2),
        "image_query": (3, 4),
        "image_test": (3, 4),
    }.items():
        folder = root / "veri" / split
        folder.mkdir(parents=True)
        for vehicle in vehicles:
            for camera in (1, 12, 20):
                pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                name = f"{vehicle:04d}_c{camera:03d}_0001{camera:04d}_0.jpg"
                Image.fromarray(pixels).save(folder / name)
    monkeypatch.setenv("FASTREID_DATASETS", str(root))
    return root


def view_of(name: str) -> int:
    """The viewpoint that the keypoint files of these tests give an image."""
    return (int(name[:4]) + int(name[6:9])) % 8


def write_keypoints(root: Path, folder: str = "", leave_out: str = "nothing") -> None:
    for file, split in (("keypoint_train.txt", "image_train"), ("keypoint_test.txt", "image_test")):
        names = sorted(path.name for path in (root / "veri" / split).iterdir())
        lines = [
            f"{split}/{name} {KEYPOINTS} {view_of(name)}" for name in names if leave_out not in name
        ]
        place = root / "veri" / folder / file
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("\n".join(lines) + "\n\n")


@pytest.fixture
def cfg(transreid_cfg, veri, caplog):
    caplog.set_level(logging.INFO)
    cfg = transreid_cfg
    cfg.DATASETS.NAMES = cfg.DATASETS.TESTS = ("VeRi",)
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.SOLVER.IMS_PER_BATCH = 4
    cfg.MODEL.SIE.VIEW = True
    return cfg


@pytest.mark.parametrize("folder", ["", "VehicleReIDKeyPointData", REPOSITORY])
def test_views_of_every_split(cfg, veri, folder) -> None:
    write_keypoints(veri, folder)
    resolve_side_information(cfg)
    assert (cfg.MODEL.SIE.NUM_CAMERAS, cfg.MODEL.SIE.NUM_VIEWS) == (20, 8)
    train = build_reid_train_loader(cfg).dataset
    test, num_query = build_reid_test_loader(cfg, dataset_name="VeRi")
    assert num_query == 6
    for images in (train, test.dataset):
        names = [Path(item[0]).name for item in images.img_items]
        assert list(images.views) == [view_of(name) for name in names]
        assert list(images.cameras) == [int(name[6:9]) - 1 for name in names]
        assert all(len(item) == 3 for item in images.img_items)  # as FastReID's


def test_images_without_a_label_are_kept(cfg, veri, caplog) -> None:
    write_keypoints(veri, leave_out="_c012_")
    resolve_side_information(cfg)
    train = build_reid_train_loader(cfg).dataset
    assert len(train) == 6
    assert [
        view for view, item in zip(train.views, train.img_items, strict=True) if "_c012_" in item[0]
    ] == [-1, -1]
    assert "training set VeRi has 2 images without a viewpoint: to the SIE 2 of 6" in caplog.text


def test_without_the_files(cfg, veri, caplog) -> None:
    data = open_dataset("VeRi")
    assert {data.viewpoint(item[0]) for item in data.train} == {-1}
    assert caplog.text.count("no keypoint_train.txt and keypoint_test.txt in") == 1
    with pytest.raises(UserError, match=r"'veri' has no viewpoints.*keypoint_train\.txt"):
        resolve_side_information(cfg)
    cfg.MODEL.SIE.VIEW = False
    resolve_side_information(cfg)


@pytest.mark.parametrize("line", ["image_train/0001_c001_00010001_0.jpg", "a.jpg 3 8", "a.jpg 1.5"])
def test_a_malformed_line_is_named(veri, line) -> None:
    write_keypoints(veri)
    with (veri / "veri" / "keypoint_train.txt").open("a") as file:
        file.write(f"{line}\n")
    data = open_dataset("VeRi")
    with pytest.raises(UserError, match=r"keypoint_train\.txt, line 8: .* 0 to 7"):
        data.viewpoint(data.train[0][0])


def test_training_through_the_tool(cfg, veri, tmp_path) -> None:
    write_keypoints(veri)
    cfg.OUTPUT_DIR = str(tmp_path / "run")
    cfg.SOLVER.MAX_EPOCH, cfg.TEST.EVAL_PERIOD = 1, 1
    (tmp_path / "config.yml").write_text(cfg.dump())
    line = ["--config-file", str(tmp_path / "config.yml")]
    training.train_or_evaluate(default_argument_parser().parse_args(line))
    weights = torch.load(tmp_path / "run" / "model_final.pth", weights_only=True)["model"]
    assert weights["backbone.sie.sie_embed"].shape == (160, 1, 192)
    metrics = (tmp_path / "run" / "metrics.json").read_text().splitlines()
    assert json.loads(metrics[-1])["mAP"] > 0
