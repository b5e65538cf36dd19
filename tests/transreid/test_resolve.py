"""Sizes of the SIE table from data sets and checkpoints; what training has not seen."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest
import torch
from fastreid.data import build_reid_test_loader, build_reid_train_loader
from fastreid.data.datasets import DATASET_REGISTRY
from fastreid.data.datasets.bases import ImageDataset
from fastreid.engine import DefaultTrainer
from fastreid.modeling import build_model
from reid_common.errors import UserError
from synthetic import write_market
from transreid import resolve_side_information
from transreid.modeling.side_embedding import SideInformationEmbedding
from transreid.weights.formats import side_information_of_weights

MARKET = "Market-1501-v15.09.15"


@pytest.fixture
def cfg(transreid_cfg, caplog):
    caplog.set_level(logging.INFO)
    transreid_cfg.DATALOADER.NUM_WORKERS = 0
    return transreid_cfg


@pytest.fixture
def two_cameras(market_root, tmp_path, monkeypatch) -> Path:
    """A data root where training and queries have cameras 0 and 1, the gallery 0, 1 and 2."""
    root = tmp_path / "two"
    write_market(root, num_cameras=2)
    shutil.rmtree(root / MARKET / "bounding_box_test")
    wide = market_root / MARKET / "bounding_box_test"
    shutil.copytree(wide, root / MARKET / "bounding_box_test")
    monkeypatch.setenv("FASTREID_DATASETS", str(root))
    return root


def register(name: str, monkeypatch, root: Path, camera=None, **attributes: object) -> None:
    """Register a data set of market_root's images, of which ``camera(number)`` is the camera."""
    market = DATASET_REGISTRY.get("Market1501")(root=str(root))

    def items(split: str) -> list[tuple]:
        return [(path, pid, camera(cam)) for path, pid, cam in getattr(market, split)]

    class Variant(ImageDataset):
        dataset_name = name.lower()

        def __init__(self, root: str = "", **kwargs: object) -> None:
            super().__init__(items("train"), items("query"), items("gallery"), **kwargs)

    for key, value in attributes.items():
        setattr(Variant, key, value)
    monkeypatch.setitem(DATASET_REGISTRY._obj_map, name, Variant)


def no_camera(camera: object) -> object:
    return None


def test_too_few_cameras_are_refused_before_training(cfg) -> None:
    cfg.MODEL.SIE.NUM_CAMERAS = 2
    with pytest.raises(UserError, match=r"NUM_CAMERAS is 2, but camera ids go up to 2"):
        resolve_side_information(cfg)


@pytest.mark.parametrize("policy", ["mean", "zero"])
def test_a_test_camera_without_a_row_is_logged(cfg, two_cameras, caplog, policy: str) -> None:
    cfg.MODEL.SIE.UNKNOWN = policy
    resolve_side_information(cfg)
    assert cfg.DATASETS.CAMERAS == ("market1501:2",)
    # Under camera 3 the gallery has 2 images of each of 3 persons; with the 6 queries 24 in all.
    line = (
        "the test set Market1501 has cameras [2] (0-based) that are not among market1501:2: "
        f"to the SIE 6 of 24 images are unknown, MODEL.SIE.UNKNOWN is {policy}"
    )
    messages = [record.getMessage() for record in caplog.records]
    assert sum(message.startswith(line) for message in messages) == 1
    assert "training with MODEL.SIE.CAMERA_DROPOUT" in caplog.text
    caplog.clear()
    cfg.MODEL.SIE.CAMERA_DROPOUT = 0.3
    resolve_side_information(cfg)
    assert line in [record.getMessage() for record in caplog.records]


def test_a_test_camera_without_a_row_is_refused_by_the_policy_error(cfg, two_cameras) -> None:
    """Its first evaluation would fail, before the first checkpoint."""
    cfg.MODEL.SIE.UNKNOWN = "error"
    with pytest.raises(UserError, match=r"test set Market1501 has cameras \[2\].*UNKNOWN is error"):
        resolve_side_information(cfg)
    cfg.MODEL.SIE.NUM_CAMERAS = 3  # a row that no training image trains is no remedy
    with pytest.raises(UserError, match=r"cameras \[2\] \(0-based\) that no training image has"):
        resolve_side_information(cfg)
    cfg.MODEL.SIE.UNKNOWN = "mean"  # a remedy that the message names
    resolve_side_information(cfg)
    assert cfg.DATASETS.CAMERAS == ("market1501:3",)


def test_cross_domain(cfg, market_root, monkeypatch, caplog) -> None:
    """Trained on one data set, tested on another: every camera of the test is unknown."""
    register("Other", monkeypatch, market_root, lambda camera: int(str(camera)[-1]))
    cfg.DATASETS.TESTS = ("Other",)
    resolve_side_information(cfg)
    assert "Other has cameras [0, 1, 2] (0-based) that are not among market1501:3" in caplog.text
    model = build_model(cfg).eval()
    results = DefaultTrainer.test(cfg, model)
    assert 0 < results["mAP"] <= 100
    rows = torch.tensor([-1, -2, -3])
    embedded = model.backbone.sie(rows)
    mean = cfg.MODEL.BACKBONE.SIE_COE * model.backbone.sie.sie_embed.mean(0)
    torch.testing.assert_close(embedded, mean.expand(3, 1, -1))


def test_training_images_without_any_camera_are_refused(cfg, market_root, monkeypatch) -> None:
    register("Folder", monkeypatch, market_root, no_camera)
    cfg.DATASETS.NAMES = cfg.DATASETS.TESTS = ("Folder",)
    with pytest.raises(UserError, match="no image of the training set Folder has a known camera"):
        resolve_side_information(cfg)
    cfg.MODEL.SIE.NUM_CAMERAS = 3  # stating a number does not make cameras
    with pytest.raises(UserError, match="no image of the training set Folder has a known camera"):
        resolve_side_information(cfg)
    cfg.MODEL.SIE.CAMERA, cfg.MODEL.SIE.NUM_CAMERAS = False, 0
    resolve_side_information(cfg)
    build_reid_train_loader(cfg)


def test_one_training_set_of_two_has_no_cameras(cfg, market_root, monkeypatch, caplog) -> None:
    register("Folder", monkeypatch, market_root, no_camera)
    cfg.DATASETS.NAMES = ("Folder", "Market1501")
    resolve_side_information(cfg)
    assert cfg.DATASETS.CAMERAS == ("market1501:3",) and cfg.MODEL.SIE.NUM_CAMERAS == 3
    assert (
        "training set Folder has 24 images without a camera: to the SIE 24 of 24 images"
        in caplog.text
    )
    cameras = build_reid_train_loader(cfg).dataset.cameras
    assert sum(camera < 0 for camera in cameras) == 24 and set(cameras) >= {0, 1, 2}
    cfg.MODEL.SIE.UNKNOWN = "error"
    with pytest.raises(UserError, match="training set Folder has 24 images without a camera"):
        resolve_side_information(cfg)


def test_images_without_a_camera_match_each_other_in_an_evaluation(
    cfg, market_root, monkeypatch
) -> None:
    """One id for all of them would drop every match as one under the query's own camera."""
    register("Folder", monkeypatch, market_root, no_camera)
    cfg.DATASETS.TESTS = ("Folder",)
    resolve_side_information(cfg)
    loader, num_query = build_reid_test_loader(cfg, dataset_name="Folder")
    camids = torch.cat([batch["camids"] for batch in loader])
    assert num_query == 9 and len(set(camids.tolist())) == len(camids) == 27
    assert (camids < 0).all() and camids.dtype == torch.int64
    results = DefaultTrainer.test(cfg, build_model(cfg).eval())
    assert results["Rank-1"] > 0  # raises if there is nothing to rank


def test_one_camera_only(cfg, tmp_path, monkeypatch) -> None:
    write_market(tmp_path / "one", num_cameras=1, images_per_camera=4)
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path / "one"))
    cfg.DATASETS.TESTS = ()
    resolve_side_information(cfg)
    assert cfg.MODEL.SIE.NUM_CAMERAS == 1
    assert len(build_model(cfg).backbone.sie.sie_embed) == 1


def weights_file(path: Path, table: SideInformationEmbedding, names: bool = True) -> str:
    """A checkpoint of ours with this SIE, and nothing else that matters."""
    state = {f"backbone.sie.{key}": value for key, value in table.state_dict().items()}
    if not names:
        del state["backbone.sie.camera_table"]
    state |= {"backbone.cls_token": torch.zeros(1), "heads.weight": torch.zeros(1)}
    torch.save({"model": state}, path)
    return str(path)


def test_table_sizes_come_from_the_checkpoint_in_an_evaluation(cfg, tmp_path) -> None:
    table = SideInformationEmbedding(5, 3, 8, camera_table="elsewhere:5")
    cfg.MODEL.SIE.VIEW = True
    cfg.MODEL.WEIGHTS = weights_file(tmp_path / "weights.pth", table)
    cfg.DATASETS.NAMES = cfg.DATASETS.TESTS = ("MSMT17",)  # not on this machine
    resolve_side_information(cfg, side_information_of_weights(cfg))
    assert (cfg.MODEL.SIE.NUM_CAMERAS, cfg.MODEL.SIE.NUM_VIEWS) == (5, 3)
    assert cfg.DATASETS.CAMERAS == ("elsewhere:5",)


@pytest.mark.parametrize("views", [0, 3])
def test_a_table_without_names_is_the_training_sets(cfg, tmp_path, views: int) -> None:
    """Released files do not say whose cameras their rows are."""
    table = SideInformationEmbedding(15, views, 8)
    cfg.MODEL.SIE.VIEW, cfg.MODEL.SIE.NUM_VIEWS = views > 0, views
    cfg.MODEL.WEIGHTS = weights_file(tmp_path / "weights.pth", table, names=False)
    cfg.DATASETS.NAMES = ("MSMT17",)
    cfg.DATASETS.TESTS = ()
    resolve_side_information(cfg, side_information_of_weights(cfg))
    assert cfg.DATASETS.CAMERAS == ("msmt17:15",) and cfg.MODEL.SIE.NUM_CAMERAS == 15


def test_stated_sizes_need_no_data(cfg, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path))
    cfg.DATASETS.NAMES = cfg.DATASETS.TESTS = ("VeRi",)
    cfg.MODEL.SIE.VIEW = True
    cfg.MODEL.SIE.NUM_CAMERAS, cfg.MODEL.SIE.NUM_VIEWS = 20, 8
    resolve_side_information(cfg)
    assert cfg.DATASETS.CAMERAS == ("veri:20",)
    assert len(build_model(cfg).backbone.sie.sie_embed) == 160


@pytest.mark.parametrize("num_views", [0, 3])
def test_a_training_set_without_viewpoints_is_refused(cfg, num_views: int) -> None:
    cfg.MODEL.SIE.VIEW, cfg.MODEL.SIE.NUM_VIEWS = True, num_views
    with pytest.raises(UserError, match="'market1501' has no viewpoints; turn it off, state them"):
        resolve_side_information(cfg)


def test_a_test_set_without_viewpoints(cfg, market_root, monkeypatch, caplog) -> None:
    def viewpoint(self, path: str) -> int:
        return -1 if "/0001_c" in path else int("_c2" in path)

    register("Seen", monkeypatch, market_root, lambda camera: camera, viewpoint=viewpoint)
    cfg.DATASETS.NAMES = ("Seen",)
    cfg.MODEL.SIE.CAMERA, cfg.MODEL.SIE.VIEW = False, True
    resolve_side_information(cfg)
    assert cfg.MODEL.SIE.NUM_VIEWS == 2
    assert "training set Seen has 6 images without a viewpoint: to the SIE 6 of 24" in caplog.text
    assert (
        "test set Market1501 has 27 images without a viewpoint: to the SIE 27 of 27" in caplog.text
    )
    loader, _ = build_reid_test_loader(cfg, dataset_name="Market1501")
    assert {int(view) for batch in loader for view in batch["viewids"]} == {-1}
    cfg.MODEL.SIE.UNKNOWN = "error"
    with pytest.raises(UserError, match=r"without a viewpoint.*UNKNOWN is error"):
        resolve_side_information(cfg)


def test_viewpoints_from_a_file(cfg, market_root, tmp_path) -> None:
    rows = ["image,viewpoint"]
    for path in sorted((market_root / MARKET).glob("*/*.jpg")):
        rows.append(f"{path.relative_to(market_root)},{int('_c3' in path.name)}")
    (tmp_path / "views.csv").write_text("\n".join(rows))
    cfg.DATASETS.SIDE_INFORMATION = (str(tmp_path / "views.csv"),)
    cfg.MODEL.SIE.VIEW = True
    resolve_side_information(cfg)
    assert cfg.MODEL.SIE.NUM_VIEWS == 2 and cfg.MODEL.SIE.NUM_CAMERAS == 3
    model = build_model(cfg)
    assert len(model.backbone.sie.sie_embed) == 6
    assert DefaultTrainer.test(cfg, model.eval())["mAP"] > 0


def test_camera_dropout_needs_a_policy(cfg) -> None:
    cfg.MODEL.SIE.CAMERA_DROPOUT, cfg.MODEL.SIE.UNKNOWN = 0.5, "error"
    resolve_side_information(cfg)
    with pytest.raises(UserError, match=r"CAMERA_DROPOUT is 0\.5"):
        build_model(cfg)
    cfg.MODEL.SIE.UNKNOWN = "zero"
    sie = build_model(cfg).backbone.sie
    assert (sie.unknown, sie.camera_dropout) == ("zero", 0.5)
