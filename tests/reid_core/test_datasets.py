"""Data sets from configs: order, file names, view ids, where they are, and what goes wrong."""

from __future__ import annotations

import glob
import random
import shutil

import pytest
from fastreid.data import CommDataset, build
from fastreid.data.datasets import DATASET_REGISTRY, market1501
from PIL import Image
from reid_common.errors import UserError
from synthetic import write_market


@pytest.fixture
def cfg(tiny_cfg):
    tiny_cfg.DATALOADER.NUM_WORKERS = 0
    return tiny_cfg


def market(root):
    return DATASET_REGISTRY.get("Market1501")(root=str(root))


def test_batch_keys(cfg):
    batch = next(iter(build.build_reid_train_loader(cfg, combineall=False)))
    assert set(batch) == {"images", "targets", "camids", "viewids", "img_paths"}
    assert batch["images"].shape == (8, 3, 64, 32)
    assert batch["viewids"].tolist() == [-1] * 8  # not known


def test_viewpoints_of_the_data_set(cfg, monkeypatch):
    dataset = DATASET_REGISTRY.get("Market1501")
    monkeypatch.setattr(
        dataset, "viewpoint", lambda self, path: int("c2" in path) + 1, raising=False
    )
    test, num_query = build.build_reid_test_loader(cfg, dataset_name="Market1501")
    assert num_query == 9
    for batch in test:
        assert batch["viewids"].tolist() == [int("c2" in path) + 1 for path in batch["img_paths"]]


def test_direct_use_is_fastreids(market_root):
    items = market(market_root).train
    images = CommDataset(items, None, relabel=True)
    sample = images[0]
    assert images.num_classes == 4 and images.num_cameras == 3
    assert sample["targets"] == images.pid_dict[items[0][1]]
    assert sample["camids"] == images.cam_dict[items[0][2]]
    assert CommDataset(market(market_root).query, None, relabel=False)[0]["targets"] == 5


def test_arguments_of_fastreid_still_count(cfg, market_root):
    items = market(market_root).train[:10]
    images = CommDataset(items, build.build_transforms(cfg))
    sampler = build.samplers.TrainingSampler(10, shuffle=False)
    loader = build.build_reid_train_loader(cfg, train_set=images, sampler=sampler)
    assert loader.dataset is images
    assert next(iter(loader))["img_paths"] == [item[0] for item in items[:8]]
    test, num_query = build.build_reid_test_loader(cfg, test_set=images, num_query=3)
    assert test.dataset is images and num_query == 3


@pytest.mark.parametrize(
    "sampler",
    [
        "TrainingSampler",
        "NaiveIdentitySampler",
        "BalancedIdentitySampler",
        "ImbalancedDatasetSampler",
    ],
)
def test_samplers_of_the_config(cfg, sampler):
    cfg.DATALOADER.SAMPLER_TRAIN = sampler
    loader = build.build_reid_train_loader(cfg, combineall=False)
    assert type(loader.batch_sampler.sampler).__name__ == sampler
    assert len(next(iter(loader))["targets"]) == 8


def test_unknown_sampler(cfg):
    cfg.DATALOADER.SAMPLER_TRAIN = "Nothing"
    with pytest.raises(ValueError, match="Nothing"):
        build.build_reid_train_loader(cfg, combineall=False)


@pytest.mark.parametrize("workers", [0, 1])
def test_workers_of_the_test_loader(cfg, workers):
    cfg.DATALOADER.NUM_WORKERS = workers
    loader, _ = build.build_reid_test_loader(cfg, dataset_name="Market1501")
    assert loader.num_workers == workers
    given, _ = build.build_reid_test_loader(cfg, dataset_name="Market1501", num_workers=2)
    assert given.num_workers == 2


def test_data_root_is_read_when_opened(cfg, tmp_path, monkeypatch):
    write_market(tmp_path, num_train_ids=2)
    cfg.DATALOADER.SAMPLER_TRAIN = "TrainingSampler"
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path))
    assert build.build_reid_train_loader(cfg, combineall=False).dataset.num_classes == 2


def test_order_does_not_depend_on_the_file_system(market_root, monkeypatch):
    straight = market(market_root)
    listed = glob.glob

    def shuffled(pattern):
        paths = listed(pattern)
        random.Random(1).shuffle(paths)
        return paths

    monkeypatch.setattr(market1501.glob, "glob", shuffled)
    other = market(market_root)
    for split in ("train", "query", "gallery"):
        items = getattr(straight, split)
        assert items == getattr(other, split)
        assert [item[0] for item in items] == sorted(item[0] for item in items)


def test_folder_that_looks_like_an_image_name(market_root, tmp_path):
    root = tmp_path / "run-1_c3"
    shutil.copytree(market_root, root)
    expected = [item[1:] for item in market(market_root).train]
    assert [item[1:] for item in market(root).train] == expected


def test_image_with_a_strange_name(tmp_path):
    folder = write_market(tmp_path)
    Image.new("RGB", (4, 8)).save(folder / "bounding_box_train" / "copy.jpg")
    with pytest.raises(UserError, match=r"copy\.jpg"):
        market(tmp_path)


def test_missing_data_set(cfg, tmp_path, monkeypatch):
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path))
    for load in (
        lambda: build.build_reid_train_loader(cfg, combineall=False),
        lambda: build.build_reid_test_loader(cfg, dataset_name="Market1501"),
    ):
        with pytest.raises(UserError) as raised:
            load()
        for part in ("Market1501", str(tmp_path), "FASTREID_DATASETS", "bounding_box_train"):
            assert part in str(raised.value)


@pytest.mark.parametrize("name", ["MSMT17", "DukeMTMC", "VeRi", "VehicleID", "CUHK03", "PRAI"])
def test_every_kind_of_missing_data_set(cfg, tmp_path, monkeypatch, name):
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path))
    cfg.DATASETS.NAMES = (name,)
    with pytest.raises(UserError, match=f"{name}.*FASTREID_DATASETS"):
        build.build_reid_train_loader(cfg, combineall=False)


def test_unknown_data_set(cfg):
    cfg.DATASETS.NAMES = ("Market1051",)
    with pytest.raises(UserError, match=r"'Market1051' is unknown\. Did you mean 'Market1501'"):
        build.build_reid_train_loader(cfg, combineall=False)


def test_empty_data_sets(cfg, tmp_path, monkeypatch):
    folder = tmp_path / "Market-1501-v15.09.15"
    for name in ("bounding_box_train", "query", "bounding_box_test"):
        (folder / name).mkdir(parents=True)
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path))
    with pytest.raises(UserError, match="no training images"):
        build.build_reid_train_loader(cfg, combineall=False)
    with pytest.raises(UserError, match="0 query and 0 gallery"):
        build.build_reid_test_loader(cfg, dataset_name="Market1501")


def test_vehicleid_is_split_the_same_every_time(tmp_path):
    folder = tmp_path / "vehicleid"
    (folder / "image").mkdir(parents=True)
    (folder / "train_test_split").mkdir()
    lines = "".join(f"{image:07d} {image // 5}\n" for image in range(50))
    for name in ("train_list", "test_list_13164"):
        (folder / "train_test_split" / f"{name}.txt").write_text(lines)
    dataset = DATASET_REGISTRY.get("VehicleID")
    first, second = (dataset(root=str(tmp_path)) for _ in range(2))
    assert len(first.gallery) == 10
    assert first.gallery == second.gallery and first.query == second.query
