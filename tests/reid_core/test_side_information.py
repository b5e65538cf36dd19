"""Cameras and viewpoints from files: DATASETS.SIDE_INFORMATION."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
from fastreid.data import build
from fastreid.data.datasets import DATASET_REGISTRY
from reid_common.errors import UserError
from reid_core.run.preflight import preflight
from reid_core.side_information.labelled_sets import camera_table, check_side_information, match
from reid_core.side_information.rows import FIRST_WITHOUT_CAMERA

MARKET = "Market-1501-v15.09.15"


@pytest.fixture
def cfg(tiny_cfg, caplog):
    caplog.set_level(logging.INFO)
    tiny_cfg.DATALOADER.NUM_WORKERS = 0
    return tiny_cfg


@pytest.fixture
def write(cfg, tmp_path):
    """Write a file and name it in the config."""

    def write_file(*lines: str, name: str = "side.csv") -> str:
        path = tmp_path / name
        path.write_text("\n".join(lines) + "\n")
        cfg.DATASETS.SIDE_INFORMATION = (*cfg.DATASETS.SIDE_INFORMATION, str(path))
        return str(path)

    return write_file


def labels(cfg) -> dict[str, tuple[int, int]]:
    """Camera and view of each test image, by file name and folder."""
    data = build.build_reid_test_loader(cfg, dataset_name="Market1501")[0].dataset
    rows = zip(data.img_items, data.cameras, data.views, strict=True)
    return {"/".join(item[0].split("/")[-2:]): (camera, view) for item, camera, view in rows}


QUERY = f"{MARKET}/query/0005_c1s1_000000_00.jpg"
GALLERY = f"{MARKET}/bounding_box_test/0005_c2s1_000001_00.jpg"


def test_a_file_replaces_what_the_data_set_says(cfg, write, market_root, caplog):
    write(
        "image, camera, viewpoint",
        f"{QUERY},2,5",  # in the data root
        f"{market_root}/{GALLERY},,3",  # absolute; the camera is not known
        "0006_c3s1_000001_00.jpg,0,",  # a name that one image has; the view is not known
        "elsewhere/0001.jpg,7,7",
    )
    images = labels(cfg)
    assert images["query/0005_c1s1_000000_00.jpg"] == (2, 5)
    camera, view = images["bounding_box_test/0005_c2s1_000001_00.jpg"]
    assert camera <= FIRST_WITHOUT_CAMERA and view == 3
    assert images["bounding_box_test/0006_c3s1_000001_00.jpg"] == (0, -1)
    assert images["query/0007_c3s1_000000_00.jpg"] == (2, -1)  # as it was
    assert "names 3 of the 51 images of Market1501" in caplog.text


def test_columns_may_be_left_out_and_later_files_count(cfg, write):
    write("image,viewpoint", f"{QUERY},1", f"{GALLERY},2")
    write("image,camera,viewpoint", f"{QUERY},1,4", name="second.csv")
    images = labels(cfg)
    assert images["query/0005_c1s1_000000_00.jpg"] == (1, 4)
    assert images["bounding_box_test/0005_c2s1_000001_00.jpg"] == (1, 2)


def test_training_images_and_the_camera_table(cfg, write, market_root):
    train = sorted((market_root / MARKET / "bounding_box_train").iterdir())
    assert camera_table(cfg).format() == ("market1501:3",)
    path = write("image,camera", *(f"{path},{index % 5}" for index, path in enumerate(train)))
    assert camera_table(cfg).format() == ("market1501:5",)
    data = build.build_reid_train_loader(cfg, combineall=False).dataset
    assert list(data.cameras) == [index % 5 for index in range(24)]
    assert data.num_cameras == 5 and data.num_classes == 4
    # A changed file is read again.
    Path(path).write_text(Path(path).read_text().replace(",4", ",6"))
    os.utime(path, (0, 0))
    assert camera_table(cfg).format() == ("market1501:7",)


def test_a_data_sets_own_viewpoints_stay_where_the_file_is_silent(cfg, write, monkeypatch):
    dataset = DATASET_REGISTRY.get("Market1501")
    monkeypatch.setattr(dataset, "viewpoint", lambda self, path: 6, raising=False)
    write("image,viewpoint", f"{QUERY},1", f"{GALLERY},")
    views = {name: view for name, (_, view) in labels(cfg).items()}
    assert views.pop("query/0005_c1s1_000000_00.jpg") == 1
    assert views.pop("bounding_box_test/0005_c2s1_000001_00.jpg") == -1
    assert set(views.values()) == {6}


def test_the_file_is_looked_for_in_the_data_root(cfg, tmp_path, monkeypatch, market_root):
    root = tmp_path / "root"
    root.mkdir()
    (root / MARKET).symlink_to(market_root / MARKET)
    (root / "side.csv").write_text(f"image;viewpoint\n{QUERY};2.0\n")  # as spreadsheets write
    monkeypatch.setenv("FASTREID_DATASETS", str(root))
    cfg.DATASETS.SIDE_INFORMATION = ("side.csv",)
    assert labels(cfg)["query/0005_c1s1_000000_00.jpg"] == (0, 2)
    cfg.DATASETS.SIDE_INFORMATION = ("sid.csv",)
    with pytest.raises(UserError, match=r"there is no file 'sid\.csv'"):
        labels(cfg)


def test_a_file_that_names_no_image_is_refused_before_a_run(cfg, write):
    path = write("image,viewpoint", "shop/0001.jpg,1")
    assert set(view for _, view in labels(cfg).values()) == {-1}
    with pytest.raises(UserError, match=r"names none of the 51 images.*'shop/0001\.jpg'"):
        preflight(cfg)
    check_side_information(
        cfg, ["/data/shop/0002.jpg", f"{os.environ['FASTREID_DATASETS']}/shop/0001.jpg"]
    )
    Path(path).write_text("image,viewpoint\n")
    with pytest.raises(UserError, match="no row at all"):
        preflight(cfg)


def test_a_name_that_two_images_have_is_refused(write):
    path = write("image,camera", "0001.jpg,1")
    with pytest.raises(UserError, match=r"line 2: 2 images are called '0001\.jpg'"):
        match(path, ["/data/a/0001.jpg", "/data/b/0001.jpg"])


@pytest.mark.parametrize(
    "lines, message",
    [
        (["image,camera", "a.jpg,one"], r"line 2: camera is 'one'; write a 0-based integer"),
        (["image,camera", "a.jpg,1", "b.jpg,1.5"], r"line 3: camera is '1\.5'"),
        (["image,viewpoint", "a.jpg,inf"], r"line 2: view is 'inf'"),
        (["image,camera", "a.jpg"], r"line 2 has 1 values, the header 2"),
        (["image,camera", "", ",1"], r"line 3: the column 'image' is empty"),
        (["image,camera", "a.jpg,1", "./a.jpg,2"], r"line 3: 'a\.jpg' is named in .*line 2"),
        (["image,camera", "/d/a.jpg,1", "a.jpg,2"], r"line 3: '/d/a\.jpg' is named in .*line 2"),
        (["img,camera", "a.jpg,1"], r"no column 'image', but img, camera"),
        (["image,angle", "a.jpg,1"], r"neither a column 'camera' nor 'view'"),
        (["image,camera,camera", "a.jpg,1,2"], r"two columns 'camera'"),
        (["image,camera", '"a.jpg,1'], r"no CSV file"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_wrong_in_a_file_is_named(write, lines, message):
    path = write(*lines)
    with pytest.raises(UserError, match=message):
        match(path, ["/d/a.jpg", "/d/b.jpg"])


def test_parquet(cfg, tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    columns = {"image": [QUERY, GALLERY], "camera": [1, None], "other": ["x", "y"]}
    path = str(tmp_path / "side.parquet")
    parquet.write_table(pyarrow.table(columns), path)
    cfg.DATASETS.SIDE_INFORMATION = (path,)
    images = labels(cfg)
    assert images["query/0005_c1s1_000000_00.jpg"] == (1, -1)
    assert images["bounding_box_test/0005_c2s1_000001_00.jpg"][0] <= FIRST_WITHOUT_CAMERA
    Path(path).write_bytes(b"PAR1")
    with pytest.raises(UserError, match="no Parquet file"):
        match(path, [])
