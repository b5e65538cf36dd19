"""A data set is opened once in a run, and again when it has changed."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path

import pytest
from fastreid.data import build_reid_test_loader, build_reid_train_loader
from fastreid.data.datasets.market1501 import Market1501
from fastreid.engine import DefaultTrainer
from reid_common.errors import UserError
from reid_core.checks.parts import parts_of_config
from reid_core.data.opened_sets import forget_opened_sets, opened_set
from reid_core.run.preflight import preflight
from reid_core.side_information.labelled_sets import camera_table
from synthetic import write_market
from transreid import resolve_side_information

MARKET = "Market-1501-v15.09.15"


@pytest.fixture
def cfg(transreid_cfg):
    transreid_cfg.DATALOADER.NUM_WORKERS = 0
    return transreid_cfg


@pytest.fixture
def openings(monkeypatch) -> Counter[bool]:
    """How often Market-1501 was opened, with COMBINEALL and without."""
    counts: Counter[bool] = Counter()
    original = Market1501.__init__

    def counting(self, *args, **kwargs):
        counts[bool(kwargs.get("combineall"))] += 1
        original(self, *args, **kwargs)

    monkeypatch.setattr(Market1501, "__init__", counting)
    return counts


def run_setup(cfg) -> DefaultTrainer:
    """What tools/train_net.py does before the first step, and the test loader of an evaluation."""
    preflight(cfg)
    resolve_side_information(cfg)
    trainer = DefaultTrainer(cfg)
    build_reid_test_loader(cfg, dataset_name="Market1501")
    return trainer


@pytest.mark.parametrize("labelled", [False, True])
def test_a_run_opens_its_data_set_once(cfg, openings, market_root, labelled, caplog) -> None:
    caplog.set_level(logging.INFO)
    assert cfg.MODEL.SIE.CAMERA and not cfg.DATASETS.CAMERAS and not cfg.MODEL.SIE.NUM_CAMERAS
    assert cfg.DATASETS.NAMES == cfg.DATASETS.TESTS == ("Market1501",)
    if labelled:
        rows = [f"{path},0" for path in sorted((market_root / MARKET).glob("*/*.jpg"))]
        file = Path(cfg.OUTPUT_DIR).with_name("views.csv")
        file.write_text("\n".join(["image,viewpoint", *rows]))
        cfg.DATASETS.SIDE_INFORMATION = (str(file),)
        cfg.MODEL.SIE.VIEW = True
    run_setup(cfg)
    assert openings == {False: 1}
    assert caplog.text.count("names 51 of the 51 images") == labelled
    run_setup(cfg)  # a run begins with a look at the disk
    assert openings == {False: 2}


def test_combineall_is_a_set_of_its_own(cfg, openings) -> None:
    cfg.DATASETS.COMBINEALL = True
    trainer = run_setup(cfg)
    assert openings == {True: 1, False: 1}
    assert len(trainer.data_loader.dataset) == 24 + 9 + 18


def test_a_check_opens_each_set_once(cfg, openings) -> None:
    assert [part.split for part in parts_of_config(cfg)] == ["train", "query", "gallery"]
    assert openings == {False: 1}


def test_what_has_changed_on_the_disk_is_opened_again(cfg, openings, tmp_path, monkeypatch) -> None:
    write_market(tmp_path)
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path))
    first = build_reid_train_loader(cfg).dataset
    assert len(build_reid_train_loader(cfg).dataset) == len(first) == 24
    assert openings == {False: 1}
    image = Path(first.img_items[0][0])
    image.with_name("0001_c6s1_000009_00.jpg").write_bytes(image.read_bytes())
    assert len(build_reid_train_loader(cfg).dataset) == 25
    assert openings == {False: 2}
    assert camera_table(cfg).format() == ("market1501:6",)


def test_new_folders_and_lists_are_seen(tmp_path) -> None:
    def add(name: str) -> None:
        path = tmp_path / "shop" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"an image")

    add("train/alice/door/1.jpg")
    folder = f"FolderReID:{tmp_path / 'shop'}"
    assert len(opened_set(folder).train) == 1 and opened_set(folder) is opened_set(folder)
    add("train/bob/1.jpg")
    assert opened_set(folder).train.identities == ["shop_0", "shop_1"]
    add("train/alice/hall/2.jpg")
    assert len(opened_set(folder).train) == 3
    add("query/alice/1.jpg")
    assert len(opened_set(folder).query) == 1
    table = tmp_path / "list.csv"
    table.write_text("image,identity\nshop/train/bob/1.jpg,bob\n")
    assert len(opened_set(f"CSVReID:{table}").train) == 1
    table.write_text(table.read_text() + "shop/train/alice/hall/2.jpg,alice\n")
    assert len(opened_set(f"CSVReID:{table}").train) == 2


def test_a_path_from_another_working_folder_is_another_set(tmp_path, monkeypatch) -> None:
    for folder, identities in (("a", 2), ("b", 3)):
        for identity in range(identities):
            (tmp_path / folder / f"shop/train/{identity}").mkdir(parents=True)
            (tmp_path / folder / f"shop/train/{identity}/1.jpg").touch()
    counts = []
    for folder in ("a", "b", "a"):
        monkeypatch.chdir(tmp_path / folder)
        counts.append(len(opened_set("FolderReID:shop").train))
    assert counts == [2, 3, 2]


def test_sets_can_be_forgotten_and_missing_ones_are_not_kept(
    cfg, openings, tmp_path, monkeypatch
) -> None:
    known = opened_set("Market1501")
    forget_opened_sets()
    assert opened_set("Market1501") is not known
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path))
    with pytest.raises(UserError, match="Market1501 is not complete"):
        opened_set("Market1501")
    write_market(tmp_path)
    assert len(opened_set("Market1501").test) == 27
