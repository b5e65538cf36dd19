"""One numbering of cameras in training and testing."""

from __future__ import annotations

import pytest
from fastreid.config import get_cfg
from fastreid.data import build
from PIL import Image
from reid_common.errors import UserError
from reid_core.data.opening import MissingDataset, open_dataset
from reid_core.side_information.labelled_sets import camera_table
from reid_core.side_information.rows import CameraTable, camera_rows, raw_cameras


def test_rows_are_offset_plus_camera():
    table = CameraTable([("msmt17", 15), ("market1501", 6)])
    assert table.num_rows == 21 and table.names() == ("msmt17", "market1501")
    assert [table.row("msmt17", c) for c in (0, 14)] == [0, 14]
    assert [table.row("market1501", c) for c in (0, 5)] == [15, 20]


def test_unknown_cameras_are_negative_and_different():
    table = CameraTable([("market1501", 2)])
    rows = [table.row("market1501", camera) for camera in range(6)]
    assert rows == [0, 1, -3, -4, -5, -6]
    assert [table.row("dukemtmc", camera) for camera in range(3)] == [-1, -2, -3]


def test_text_form():
    texts = ("msmt17:15", "market1501:6")
    assert CameraTable.parse(texts).format() == texts
    assert CameraTable.parse(["Market1501:6"]).names() == ("market1501",)  # the registry's name
    assert CameraTable.parse(texts) == CameraTable([("msmt17", 15), ("market1501", 6)])


@pytest.mark.parametrize(
    ("texts", "part"),
    [
        (["market1501"], "'market1501'"),
        ([":6"], "':6'"),
        (["market1501:six"], "six"),
        (["market1501:0"], "at least 1"),
        (["market1501:6", "Market1501:6"], "twice"),
    ],
)
def test_wrong_text(texts, part):
    with pytest.raises(UserError, match=part):
        CameraTable.parse(texts)


def test_raw_cameras():
    assert raw_cameras("my_set_2", ["my_set_2_10", "my_set_2_test_3", "my_set_2_0"]) == [10, 3, 0]
    assert raw_cameras("market1501", [4, 0]) == [4, 0]
    assert raw_cameras("lpw", ["lpw_view2", "lpw_view1", "lpw_view2"]) == [1, 0, 1]


@pytest.mark.parametrize("none", [None, -1, -3, "shop_-1", "shop_None", "shop_test_-1", "shop_"])
def test_no_camera(none):
    assert raw_cameras("shop", ["shop_2", none, "shop_0"]) == [2, -1, 0]
    assert raw_cameras("shop", ["shop_door", none]) == [0, -1]
    table = CameraTable([("shop", 2)])
    # Rows; a camera without a row; two images without a camera, each with an id of its own.
    rows = camera_rows(table, "shop", [1, none, 4, none, 0], start=10)
    assert rows == [1, -10_000_011, -5, -10_000_013, 0]
    with pytest.raises(ValueError, match="no camera"):
        table.row("shop", -1)


def write_msmt17(root, num_cameras=15):
    """Each person is seen by each camera, in MSMT17's layout; names carry the 1-based camera."""
    folder = root / "MSMT17_V1"
    lines = []
    for person in range(2):
        for camera in range(1, num_cameras + 1):
            for split in ("train", "test"):
                name = f"{person:04d}/{person:04d}_000_{camera:02d}_0303morning_0008_0.jpg"
                path = folder / split / name
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (4, 8)).save(path)
            lines.append(f"{name} {person}\n")
    for split in ("train", "val", "query", "gallery"):
        (folder / f"list_{split}.txt").write_text("".join(lines))


@pytest.fixture
def msmt17_cfg(tmp_path, monkeypatch):
    write_msmt17(tmp_path)
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path))
    cfg = get_cfg()
    cfg.DATASETS.NAMES = cfg.DATASETS.TESTS = ("MSMT17",)
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.SOLVER.IMS_PER_BATCH = 2
    return cfg


def camera_of_file(path):
    return int(path.rsplit("/", 1)[1].split("_")[2]) - 1


def camids_by_file_camera(dataset):
    return {
        (camera_of_file(sample["img_paths"]), int(sample["camids"]))
        for sample in (dataset[index] for index in range(len(dataset)))
    }


def test_fifteen_cameras_have_the_same_row_in_training_and_testing(msmt17_cfg):
    train = build.build_reid_train_loader(msmt17_cfg, combineall=False).dataset
    test = build.build_reid_test_loader(msmt17_cfg, dataset_name="MSMT17")[0].dataset
    rows = {(camera, camera) for camera in range(15)}
    assert camids_by_file_camera(train) == rows
    assert camids_by_file_camera(test) == rows
    assert train.num_cameras == 15 and train.num_classes == 2

    # FastReID's numbering, which our class keeps for those who build it themselves, is another one.
    theirs = build.CommDataset(train.img_items, train.transform, relabel=True)
    wrong = dict(camids_by_file_camera(theirs))
    assert wrong[10] == 2 and wrong[2] == 7


def test_validation_images_of_msmt17(msmt17_cfg, tmp_path):
    (tmp_path / "MSMT17_V1" / "list_val.txt").write_text(
        "0001/0001_000_03_0303morning_0008_0.jpg 1\n"
    )
    msmt17_cfg.DATASETS.NAMES = ("MSMT17TrainVal",)
    train = build.build_reid_train_loader(msmt17_cfg, combineall=False).dataset
    assert len(train) == 30 + 1 and train.num_classes == 2
    assert camids_by_file_camera(train) == {(camera, camera) for camera in range(15)}
    sizes = {
        (name, combine): len(open_dataset(name, combineall=combine).train)
        for name in ("MSMT17", "MSMT17TrainVal")
        for combine in (False, True)
    }
    both = 30 + 1 + 30 + 30  # query and gallery
    assert list(sizes.values()) == [30, both, 31, both]
    with pytest.raises(MissingDataset, match=r"MSMT17TrainVal is not .* MSMT17_V1/\{train,test"):
        open_dataset("MSMT17TrainVal", root=str(tmp_path / "MSMT17_V1"))


def test_combineall_adds_no_rows(msmt17_cfg):
    msmt17_cfg.DATASETS.COMBINEALL = True
    train = build.build_reid_train_loader(msmt17_cfg, combineall=True).dataset
    assert len(train) == 4 * 30  # train, val, query, gallery
    assert camids_by_file_camera(train) == {(camera, camera) for camera in range(15)}
    assert camera_table(msmt17_cfg).num_rows == 15


def test_two_training_sets(msmt17_cfg, market_root, tmp_path):
    (tmp_path / "Market-1501-v15.09.15").symlink_to(market_root / "Market-1501-v15.09.15")
    msmt17_cfg.DATASETS.NAMES = ("MSMT17", "Market1501")
    table = camera_table(msmt17_cfg)
    assert table.format() == ("msmt17:15", "market1501:3")
    train = build.build_reid_train_loader(msmt17_cfg, combineall=False).dataset
    test = build.build_reid_test_loader(msmt17_cfg, dataset_name="Market1501")[0].dataset
    assert set(test.cameras) == {15, 16, 17}
    assert set(train.cameras) == set(range(18))


def test_config_text_comes_first(msmt17_cfg):
    msmt17_cfg.DATASETS.CAMERAS = ("market1501:6", "msmt17:12")
    test = build.build_reid_test_loader(msmt17_cfg, dataset_name="MSMT17")[0].dataset
    assert set(test.cameras) == {*range(6, 18), -13, -14, -15}


def test_one_missing_training_set_is_numbered_by_itself(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path))
    table = camera_table(get_cfg())
    assert table.row("market1501", 5) == 5 and table.row("dukemtmc", 5) == -6
    with pytest.raises(UserError, match=r"DATASETS\.CAMERAS"):
        _ = table.num_rows


def test_one_missing_of_several(msmt17_cfg, caplog):
    msmt17_cfg.DATASETS.NAMES = ("MSMT17", "DukeMTMC")
    with pytest.raises(UserError, match=r"DukeMTMC.*DATASETS\.CAMERAS"):
        camera_table(msmt17_cfg)
    # A test does not need them, unless the model looks cameras up.
    test = build.build_reid_test_loader(msmt17_cfg, dataset_name="MSMT17")[0].dataset
    assert all(row < 0 for row in test.cameras)
    assert "unknown" in caplog.text


def test_no_training_images_beside_the_test_images(market_root, tmp_path, monkeypatch):
    """As on a machine that holds what an evaluation needs."""
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path))
    data = tmp_path / "Market-1501-v15.09.15"
    (data / "bounding_box_train").mkdir(parents=True)
    for folder in ("query", "bounding_box_test"):
        (data / folder).symlink_to(market_root / data.name / folder)
    cfg = get_cfg()
    cfg.INPUT.SIZE_TEST = [64, 32]
    test = build.build_reid_test_loader(cfg, dataset_name="Market1501")[0].dataset
    assert set(test.cameras) == {0, 1, 2}
