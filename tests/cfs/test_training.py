"""Trainings with DATASETS.FILTERS: the filters say what is trained on, and change nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import cfs  # noqa: F401  (registers the filters)
import cv2
import pytest
from dinopretrain.data.images import SelectedImages
from dinopretrain.data.sampler import EpochSampler
from fastreid.data.samplers import NaiveIdentitySampler
from fastreid.engine import DefaultTrainer
from reid_common.errors import UserError
from reid_core.run.preflight import preflight
from small_dino import NUM_IMAGES, small_dino_cfg, start, write_noise
from small_transreid import make_small_transreid
from synthetic import write_market
from transreid import resolve_side_information

TRAIN = "Market-1501-v15.09.15/bounding_box_train"


def summary(cfg) -> dict:
    return json.loads((Path(cfg.OUTPUT_DIR) / "filters_summary.json").read_text())


@pytest.fixture
def dino_cfg(tmp_path: Path):
    """The pool of the small DINO run, four duplicates, two small images and a broken one."""
    pool = tmp_path / "pool"
    write_noise(pool)
    for number in range(4):
        (pool / f"{number:03d}_again.png").write_bytes((pool / f"{number:03d}.png").read_bytes())
    for number in (7, 8):
        small = cv2.resize(cv2.imread(str(pool / f"{number:03d}.png")), (10, 20))
        cv2.imwrite(str(pool / f"{number:03d}_small.png"), small)
    whole = (pool / "009.png").read_bytes()
    (pool / "broken.png").write_bytes(whole[: len(whole) // 2])
    cfg = small_dino_cfg(pool, tmp_path / "logs")
    cfg.DATASETS.FILTERS = [
        {"NAME": "ResolutionFilter", "MIN_HEIGHT": 40},
        {"NAME": "DuplicateFilter"},
    ]
    return cfg


def test_dino_trains_on_what_is_left(dino_cfg, caplog) -> None:
    dino_cfg.SOLVER.MAX_EPOCH = 2
    trainer = start(dino_cfg)
    images = trainer.data_loader.dataset.images
    assert isinstance(images, SelectedImages) and len(images.images) == NUM_IMAGES + 7
    names = [Path(images.name(index)).name for index in range(len(images))]
    assert names == [f"{number:03d}.png" for number in range(NUM_IMAGES)]
    sampler = trainer.data_loader.batch_sampler.sampler
    assert type(sampler) is EpochSampler and sampler._size == NUM_IMAGES
    trainer.train()
    said = summary(dino_cfg)
    assert (said["images"], said["kept"]) == (NUM_IMAGES + 7, NUM_IMAGES)
    size, duplicate = said["filters"]
    assert [x["images"] for x in size["dropped"]] == [2]
    assert {x["reason"]: x["images"] for x in duplicate["dropped"]} == {
        "duplicate (up to 4 of 64 bits differ)": 4,
        "unreadable image": 1,
    }
    row = json.loads((Path(dino_cfg.OUTPUT_DIR) / "metrics.json").read_text().splitlines()[-1])
    assert row["bad_images"] == 0


def test_a_resumed_dino_looks_at_no_image_again(dino_cfg, monkeypatch) -> None:
    written = {}
    for epochs in (1, 2):
        dino_cfg.SOLVER.MAX_EPOCH, dino_cfg.SOLVER.WARMUP_EPOCHS = epochs, 0
        trainer = start(dino_cfg)
        trainer.train()
        assert trainer.start_epoch == epochs - 1
        for file in ("filters_summary.json", "filters_summary.md", "filters_dropped.csv"):
            content = (Path(dino_cfg.OUTPUT_DIR) / file).read_bytes()
            assert written.setdefault(file, content) == content

        def measure(*arguments):
            raise AssertionError("measured again")

        monkeypatch.setattr("cfs.filters.measured_images._measure", measure)


@pytest.fixture
def market(tmp_path, monkeypatch) -> Path:
    """Four training identities of six images, under three cameras; the folder of these images."""
    write_market(tmp_path / "data")
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path / "data"))
    return tmp_path / "data" / TRAIN


@pytest.fixture
def reid_cfg(tiny_cfg, market, monkeypatch):
    monkeypatch.setenv("FASTREID_DATASETS", str(market.parents[1]))  # tiny_cfg sets its own
    cfg = make_small_transreid(tiny_cfg)
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.SOLVER.IMS_PER_BATCH = 4
    return cfg


def exclude(cfg, tmp_path: Path, *names: str) -> None:
    path = tmp_path / "exclude.txt"
    path.write_text("\n".join(names))
    cfg.DATASETS.FILTERS = [{"NAME": "ListFilter", "LIST": str(path), "EXCLUDE": True}]


def loaders(cfg):
    train = DefaultTrainer.build_train_loader(cfg)
    test, num_query = DefaultTrainer.build_test_loader(cfg, "Market1501")
    return train, test, num_query


def test_a_labelled_set_loses_what_is_dropped_and_nothing_else(reid_cfg, market, tmp_path) -> None:
    """Identity 2 goes with all its images, of identity 3 the images of one camera."""
    names = sorted(path.name for path in market.iterdir())
    gone = [name for name in names if name.startswith("0002") or name.startswith("0003_c2")]
    assert len(gone) == 8
    before, test_before, query_before = loaders(reid_cfg)
    exclude(reid_cfg, tmp_path, *gone)
    after, test_after, query_after = loaders(reid_cfg)
    assert len(before.dataset) == 24 and len(after.dataset) == 16
    assert (before.dataset.num_classes, after.dataset.num_classes) == (4, 3)
    assert [Path(item[0]).name for item in after.dataset.img_items] == [
        name for name in names if name not in gone
    ]
    rows = {
        item[0]: row
        for item, row in zip(before.dataset.img_items, before.dataset.cameras, strict=True)
    }
    assert after.dataset.cameras == [rows[item[0]] for item in after.dataset.img_items]
    assert after.dataset.views == [-1] * 16
    targets = {after.dataset[i]["targets"] for i in range(16)}
    assert targets == {0, 1, 2}
    for loader in (before, after):
        assert type(loader.batch_sampler.sampler) is NaiveIdentitySampler
    assert after.batch_sampler.sampler.num_identities == 3
    assert test_after.dataset.img_items == test_before.dataset.img_items
    assert query_after == query_before
    assert (summary(reid_cfg)["images"], summary(reid_cfg)["kept"]) == (24, 16)


def test_transreid_trains_with_filters(reid_cfg, market, tmp_path) -> None:
    """Dropped, too: an image that cannot be read, which a check before the run would refuse."""
    whole = (market / "0001_c1s1_000000_00.jpg").read_bytes()
    (market / "0001_c3s1_000009_00.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"0001_c3s1_000009_00\.jpg"):
        preflight(reid_cfg)
    reid_cfg.DATASETS.FILTERS = [{"NAME": "BlurFilter", "MIN": 0}]
    preflight(reid_cfg)
    resolve_side_information(reid_cfg)
    trainer = DefaultTrainer(reid_cfg)
    assert len(trainer.data_loader.dataset) == 24
    results = trainer.train()
    assert results["mAP"] > 0
    assert summary(reid_cfg)["filters"][0]["dropped"][0]["reason"] == "unreadable image"


def test_an_image_that_is_kept_must_be_readable(reid_cfg, market, tmp_path) -> None:
    names = sorted(path.name for path in market.iterdir())
    (market / names[5]).write_bytes(b"")
    exclude(reid_cfg, tmp_path, names[0])
    preflight(reid_cfg)
    with pytest.raises(UserError, match=f"{names[5]}.*empty file"):
        loaders(reid_cfg)


def test_several_sets_are_filtered_as_one(dino_cfg, market, tmp_path) -> None:
    """A pool and a labelled set; the best five of both together, twice the one image."""
    (market / "0009_c1s1_000000_00.jpg").write_bytes((tmp_path / "pool/005.png").read_bytes())
    ranked = ["0001_c1s1_000000_00.jpg", "005.png", "0009_c1s1_000000_00.jpg", "006.png"]
    ranked += ["0001_c2s1_000000_00.jpg", "001.png"]
    (tmp_path / "ranked.txt").write_text("\n".join(ranked))
    dino_cfg.DATASETS.NAMES = (*dino_cfg.DATASETS.NAMES, "Market1501")
    dino_cfg.DATASETS.FILTERS = [
        {"NAME": "CFSFilter", "SCORES": str(tmp_path / "ranked.txt"), "KEEP_NUM": 5},
        {"NAME": "DuplicateFilter"},
    ]
    images = start(dino_cfg).data_loader.dataset.images
    names = [Path(images.name(index)).name for index in range(len(images))]
    assert names == [
        "005.png",
        "006.png",
        "0001_c1s1_000000_00.jpg",
        "0001_c2s1_000000_00.jpg",
    ]


def test_what_is_left_must_be_enough(dino_cfg, reid_cfg, market, tmp_path, caplog) -> None:
    dino_cfg.DATASETS.FILTERS = [{"NAME": "ResolutionFilter", "MIN_HEIGHT": 400}]
    with pytest.raises(
        UserError, match=r"leaves none of the 31 .*ResolutionFilter drops 31 \(height below 400"
    ):
        start(dino_cfg)
    assert summary(dino_cfg)["kept"] == 0
    names = sorted(path.name for path in market.iterdir())
    exclude(reid_cfg, tmp_path, *names[3:])
    with pytest.raises(UserError, match=r"leaves only 3 of the 24 .*IMS_PER_BATCH = 4"):
        loaders(reid_cfg)
    # One image of each identity, then one of one identity only.
    first = [next(name for name in names if name.startswith(f"000{i}")) for i in (1, 2, 3, 4)]
    exclude(reid_cfg, tmp_path, *(name for name in names if name not in first))
    with pytest.raises(UserError, match=r"leaves no identity DATALOADER.NUM_INSTANCE = 2 images"):
        loaders(reid_cfg)
    exclude(reid_cfg, tmp_path, *(n for n in names if n.startswith("0001") and n != first[0]))
    caplog.clear()
    loaders(reid_cfg)
    assert "leave 1 of the 4 identities fewer than DATALOADER.NUM_INSTANCE = 2" in caplog.text
    exclude(reid_cfg, tmp_path, *(n for n in names if not n.startswith("0001")))
    with pytest.raises(UserError, match="too few identities"):
        loaders(reid_cfg)
