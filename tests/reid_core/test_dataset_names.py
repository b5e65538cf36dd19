"""Data sets whose names carry an argument, and the names under which results are shown."""

from __future__ import annotations

import logging
from collections import OrderedDict

import pytest
from fastreid.data.datasets import DATASET_REGISTRY
from fastreid.data.datasets.bases import ImageDataset
from fastreid.evaluation import print_csv_format
from reid_common.errors import UserError
from reid_core.data.names import check_distinct, dataset_name, name_of_path, result_name, split_name
from reid_core.data.opening import MissingDataset, find_path, open_dataset
from reid_core.run.validation import validate_config
from reid_core.side_information.rows import CameraTable


class Needs(ImageDataset):
    """Cannot do without an argument, and is called after it."""

    argument_example = "Needs:/data/shop"
    argument_name = staticmethod(name_of_path)

    def __init__(self, root="datasets", *, argument, **kwargs):
        self.opened = root, argument
        super().__init__([("a.jpg", "x_1", "x_0")], [], [], **kwargs)


class May(ImageDataset):
    """Takes an argument that chooses a part of it."""

    dataset_name = "may"

    def __init__(self, root="datasets", argument=None, **kwargs):
        self.opened = root, argument
        super().__init__([("a.jpg", "may_1", "may_0")], [], [], **kwargs)


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    for cls in (Needs, May):
        monkeypatch.setitem(DATASET_REGISTRY._obj_map, cls.__name__, cls)


def test_split_name():
    assert split_name("Market1501") == ("Market1501", None)
    assert split_name("May:cameras=1-4:x") == ("May", "cameras=1-4:x")
    assert split_name("May:") == ("May", "")


def test_the_class_gets_the_argument():
    assert open_dataset("Needs:/data/shop", root="r").opened == ("r", "/data/shop")
    assert open_dataset("May:b=2", root="r").opened == ("r", "b=2")
    assert open_dataset("May", root="r").opened == ("r", None)


@pytest.mark.parametrize(
    "name, message",
    [
        ("Needs", r"'Needs': Needs needs an argument, as in 'Needs:/data/shop'"),
        ("Needs:", r"'Needs:': Needs needs an argument"),
        ("May:", r"'May:' ends in a colon"),
        ("Market1501:x", r"'Market1501:x': Market1501 takes no argument; write 'Market1501', or"),
        ("Market1502:x", r"Market1502.*[Dd]id you mean.*Market1501"),
    ],
)
def test_wrong_names(tiny_cfg, name, message):
    with pytest.raises(UserError, match=message):
        open_dataset(name)
    for key in ("NAMES", "TESTS"):
        cfg = tiny_cfg.clone()
        cfg.DATASETS[key] = (name,)
        with pytest.raises(UserError, match=message):
            validate_config(cfg)


def test_dataset_names():
    assert dataset_name("Needs:/data/My Shop, 2.csv") == "my_shop_2"
    assert dataset_name("Needs:shop/") == "shop"
    assert dataset_name("May:cameras=1-4") == "may"
    assert dataset_name("Market1501") == "market1501"
    assert dataset_name("shop") == "shop"


def test_cameras_of_a_named_set():
    table = CameraTable.parse(("Needs:/data/shop:3", "may:2"))
    assert table.format() == ("shop:3", "may:2")
    assert CameraTable.parse(table.format()) == table


def test_two_sets_of_one_name_are_refused(tiny_cfg):
    check_distinct(["Needs:/a/shop", "Needs:/a/shop", "Needs:/b/mall", "May:a", "May:b", "May"])
    tiny_cfg.DATASETS.NAMES = ("Needs:/a/shop", "Needs:/b/shop.csv")
    with pytest.raises(UserError, match=r"/a/shop.*/b/shop.csv.*'shop'.*rename"):
        validate_config(tiny_cfg)
    with pytest.raises(UserError, match="rename"):
        check_distinct(["May", "Needs:/data/may"])


def test_paths_as_given_come_before_the_data_root(tmp_path, monkeypatch):
    root = tmp_path / "root"
    (root / "shop").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert find_path("shop", "root", "a folder") == "root/shop"
    (tmp_path / "shop").mkdir()
    assert find_path("shop", "root", "a folder") == "shop"
    assert find_path(str(root / "shop"), "elsewhere", "a folder") == str(root / "shop")
    monkeypatch.setenv("HOME", str(root))
    assert find_path("~/shop", "elsewhere", "a folder") == str(root / "shop")
    with pytest.raises(MissingDataset, match=r"no 'mall', nor '.*root/mall'; .* a folder"):
        find_path("mall", "root", "a folder")


@pytest.mark.parametrize(
    "folders, shown",
    [(["MSMT17_V2"], "MSMT17_V2"), (["MSMT17_V2", "MSMT17_V1"], "MSMT17_V1"), ([], "MSMT17")],
)
def test_results_say_which_msmt17(tmp_path, monkeypatch, caplog, folders, shown):
    """FastReID reads V1 where both are there."""
    for folder in folders:
        images = ("mask_train_v2", "mask_test_v2") if "2" in folder[-1] else ("train", "test")
        for inside in images:
            (tmp_path / folder / inside).mkdir(parents=True)
        for part in ("train", "val", "query", "gallery"):
            line = f"0000/0000_000_0{1 + (part == 'query')}_0303morning_0015_0.jpg 0\n"
            (tmp_path / folder / f"list_{part}.txt").write_text(line)
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path))
    assert result_name("MSMT17", str(tmp_path)) == shown
    if folders:
        assert f"/{shown}/" in open_dataset("MSMT17").query[0][0]
    table(caplog, "MSMT17", f"| {shown} ")


@pytest.mark.parametrize(
    "name, shown", [("Needs:/data/shop", "| shop "), ("May:b=2", "| May:b=2 "), ("VeRi", "| VeRi ")]
)
def test_results_name_the_argument(caplog, name, shown):
    table(caplog, name, shown)


def table(caplog, name, shown):
    """Have results of a data set printed and look at the table."""
    caplog.set_level(logging.INFO)
    logging.getLogger("fastreid").propagate = True
    print_csv_format(OrderedDict(mAP=50.0, dataset=name))
    assert shown in caplog.text and "50.00" in caplog.text
