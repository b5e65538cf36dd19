"""The loader of views: batches, repeatability, resuming, ranks, bad images."""

from __future__ import annotations

import csv
import itertools
import logging
import pickle
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from dinopretrain.data.bad_images import BadImages, BadImagesHook
from dinopretrain.data.loader import build_pretraining_loader
from dinopretrain.data.multi_crop_dataset import MultiCropDataset, collate_views
from dinopretrain.data.sampler import EpochSampler
from fastreid.config import CfgNode
from fastreid.utils import comm
from fastreid.utils.events import EventStorage
from fastreid_compat.repairs.loading.reproducible import SeededIndex, restart_at, skip_batches
from PIL import Image
from reid_common.errors import UserError
from reid_core.config import load_config
from reid_core.data.opening import open_dataset

COUNT = 10


def write_images(folder: Path, count: int = COUNT) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for number in range(count):
        pixels = rng.integers(0, 256, (32, 16, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


@pytest.fixture
def cfg(tmp_path: Path) -> CfgNode:
    write_images(tmp_path / "pool")
    cfg = load_config()
    cfg.DATASETS.NAMES = (f"ImageFolder:{tmp_path}/pool",)
    cfg.INPUT.SIZE_TRAIN = [32, 16]
    cfg.DINO.LOCAL_SIZE = [16, 8]
    cfg.DINO.LOCAL_VIEWS = 3
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.SOLVER.IMS_PER_BATCH = 4
    cfg.SEED = 7
    return cfg


def take(loader, count: int) -> list[dict]:
    batches = list(itertools.islice(iter(loader), count))
    loader.shutdown()
    return batches


def assert_same(first: list[dict], second: list[dict]) -> None:
    assert len(first) == len(second)
    for a, b in zip(first, second, strict=True):
        assert a["bad"] == b["bad"]
        for key in ("global_views", "local_views", "index"):
            assert torch.equal(a[key], b[key])


def test_a_batch(cfg):
    loader = build_pretraining_loader(cfg)
    assert len(loader.dataset) == COUNT and loader.dataset.num_classes == 0
    (batch,) = take(loader, 1)
    assert set(batch) == {"global_views", "local_views", "index", "bad"}
    assert batch["global_views"].shape == (4, 2, 32, 16, 3)
    assert batch["local_views"].shape == (4, 3, 16, 8, 3)
    assert batch["global_views"].dtype == batch["local_views"].dtype == torch.uint8
    assert batch["index"].shape == (4,) and batch["index"].dtype == torch.int64
    assert batch["bad"] == []
    assert batch["global_views"].float().std() > 5


def test_without_local_views(cfg):
    cfg.DINO.LOCAL_VIEWS = 0
    (batch,) = take(build_pretraining_loader(cfg), 1)
    assert batch["local_views"].shape[:2] == (4, 0)


def test_batches_do_not_depend_on_workers_and_are_others_with_another_seed(cfg):
    first = take(build_pretraining_loader(cfg), 4)
    cfg.DATALOADER.NUM_WORKERS = 2
    assert_same(first, take(build_pretraining_loader(cfg), 4))
    cfg.DATALOADER.NUM_WORKERS, cfg.SEED = 0, 8
    other = take(build_pretraining_loader(cfg), 4)
    assert not torch.equal(first[0]["global_views"], other[0]["global_views"])
    assert [b["index"].tolist() for b in first] != [b["index"].tolist() for b in other]


@pytest.mark.parametrize("done", [1, 2, 7])
def test_a_resumed_run_sees_what_the_uninterrupted_one_would_have_seen(cfg, done):
    whole = take(build_pretraining_loader(cfg), 10)
    loader = build_pretraining_loader(cfg)
    assert skip_batches(loader, done)
    assert_same(whole[done:], take(loader, 10 - done))
    trainer = SimpleNamespace(data_loader=build_pretraining_loader(cfg))
    restart_at(trainer, done)
    assert_same(whole[done : done + 1], [next(trainer._data_loader_iter)])


@pytest.mark.parametrize(("size", "world"), [(10, 1), (10, 2), (7, 3), (2, 5)])
def test_sampler_shows_each_image_once_an_epoch_over_all_ranks(monkeypatch, size, world):
    monkeypatch.setattr(comm, "get_world_size", lambda: world)
    streams = []
    for rank in range(world):
        monkeypatch.setattr(comm, "get_rank", lambda rank=rank: rank)
        sampler = EpochSampler(size, seed=3)
        stream = list(itertools.islice(sampler, 6 * size))
        streams.append(stream)
        for start in (0, 1, size - 1, size, 2 * size + 1):
            jumped = list(itertools.islice(sampler.starting_at(start), size))
            assert jumped == stream[start : start + size]
    together = [index for place in zip(*streams, strict=True) for index in place]
    epochs = [together[i : i + size] for i in range(0, 4 * size, size)]
    assert all(sorted(epoch) == list(range(size)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_sampler_in_order():
    sampler = EpochSampler(3, shuffle=False, seed=0)
    assert list(itertools.islice(sampler, 7)) == [0, 1, 2, 0, 1, 2, 0]


def test_two_ranks_share_the_images(cfg, monkeypatch):
    monkeypatch.setattr(comm, "get_world_size", lambda: 2)
    seen = []
    for rank in (0, 1):
        monkeypatch.setattr(comm, "get_rank", lambda rank=rank: rank)
        batches = take(build_pretraining_loader(cfg), 2)
        assert batches[0]["global_views"].shape[0] == 2
        seen += [i for batch in batches for i in batch["index"].tolist()]
    assert len(set(seen)) == 8


def test_labelled_sets_give_their_training_images(cfg, market_root, monkeypatch):
    monkeypatch.setenv("FASTREID_DATASETS", str(market_root))
    cfg.DATASETS.NAMES = ("Market1501", *cfg.DATASETS.NAMES)
    images = build_pretraining_loader(cfg).dataset.images
    train = open_dataset("Market1501").train
    assert len(images) == len(train) + COUNT
    assert images.name(0) == train[0][0] and images.name(len(train)).endswith("pool/0.png")
    assert images.read(0).shape == (64, 32, 3)


@pytest.mark.parametrize(
    ("names", "message"),
    [((), "DATASETS.NAMES is empty"), (("LUPerson:/no/such",), "there is no '/no/such'")],
)
def test_wrong_names_are_refused(cfg, names, message):
    cfg.DATASETS.NAMES = names
    with pytest.raises(UserError, match=message):
        build_pretraining_loader(cfg)


def spoil(cfg: CfgNode, *numbers: int) -> list[str]:
    folder = Path(cfg.DATASETS.NAMES[0].partition(":")[2])
    for number in numbers:
        (folder / f"{number}.png").write_bytes(b"")
    return [str(folder / f"{number}.png") for number in numbers]


def test_a_bad_image_is_replaced_and_reported(cfg):
    bad = spoil(cfg, 3, 5)
    batches = take(build_pretraining_loader(cfg), 5)  # two epochs
    assert all(batch["global_views"].shape[0] == 4 for batch in batches)
    shown = torch.cat([batch["index"] for batch in batches])
    assert not set(shown.tolist()) & {3, 5}
    reports = [item for batch in batches for item in batch["bad"]]
    assert {name for name, _ in reports} == set(bad)
    assert {reason for _, reason in reports} == {"empty file"}
    assert len(reports) >= 4  # each of the two in each of the two epochs
    cfg.DATALOADER.NUM_WORKERS = 2
    assert_same(batches, take(build_pretraining_loader(cfg), 5))


def test_the_replacement_depends_on_the_place_in_the_stream_only(cfg):
    spoil(cfg, 3)
    images = build_pretraining_loader(cfg).dataset.images
    dataset = MultiCropDataset(images, lambda image: {})
    chosen = [
        [dataset[SeededIndex.of(3, seed, 0, place)]["index"] for place in range(30)]
        for seed in (1, 1, 2)
    ]
    assert chosen[0] == chosen[1] != chosen[2]
    assert len(set(chosen[0])) > 5 and 3 not in chosen[0]
    assert dataset[3]["index"] == dataset[3]["index"] != 3  # a plain index, too


@pytest.mark.parametrize("workers", [0, 1])
def test_a_set_of_bad_images_only_is_an_error_and_no_endless_loop(cfg, workers):
    spoil(cfg, *range(COUNT))
    cfg.DATALOADER.NUM_WORKERS = workers
    with pytest.raises(UserError, match=r"^20 images in a row cannot be read; the last is '/"):
        take(build_pretraining_loader(cfg), 1)


def test_the_data_set_can_be_sent_to_a_spawned_worker(cfg):
    dataset = build_pretraining_loader(cfg).dataset
    copied = pickle.loads(pickle.dumps(dataset))
    index = SeededIndex.of(2, 1, 0, 0)
    first, second = (collate_views([d[index]]) for d in (dataset, copied))
    assert_same([first], [second])


def rows_of(path: Path) -> list[list[str]]:
    with open(path, newline="") as file:
        return list(csv.reader(file))


def test_bad_images_are_written_once(tmp_path):
    path = tmp_path / "logs" / "bad_images.csv"
    recorder = BadImages(str(path))
    recorder.add([], 4000)
    assert not path.exists()
    recorder.add([("a, b.jpg", "empty file"), ("c.jpg", 'says "no"'), ("c.jpg", "again")], 4)
    recorder.add([("c.jpg", 'says "no"')], 4)
    rows = [["image", "reason"], ["a, b.jpg", "empty file"], ["c.jpg", "again"]]
    assert rows_of(path) == rows
    assert (recorder.num_seen, recorder.num_bad) == (4012, 4)
    resumed = BadImages(str(path))  # a later run, or another process
    resumed.add([("c.jpg", "again"), ("d.jpg", "gone")], 4000)
    recorder.add([("d.jpg", "gone"), ("e.jpg", "gone")], 4)
    assert rows_of(path) == [*rows, ["d.jpg", "gone"], ["e.jpg", "gone"]]


@pytest.mark.parametrize(("bad", "stops"), [(9, False), (10, True)])
def test_ten_bad_ones_are_enough_to_judge(tmp_path, bad, stops):
    recorder = BadImages(str(tmp_path / "bad.csv"))
    items = [(f"{i}.jpg", "gone") for i in range(bad)]
    if not stops:
        recorder.add(items, 10)
        return
    with pytest.raises(UserError, match=r"10 of the 20 images read are bad, more than 1\.0%"):
        recorder.add(items, 10)
    assert len(rows_of(tmp_path / "bad.csv")) == 11  # what was too much was written, too


def test_the_share_counts_and_not_the_number(tmp_path):
    recorder = BadImages(str(tmp_path / "bad.csv"), max_share=0.01)
    recorder.add([(f"{i}.jpg", "gone") for i in range(9)], 1991)
    recorder.add([(f"{i}.jpg", "gone") for i in range(12)], 88)  # 21 of 2100, 1.0%
    with pytest.raises(UserError, match="22 of the 2101"):
        recorder.add([("x.jpg", "gone")], 0)


def test_a_whole_epoch_is_enough_to_judge(tmp_path):
    recorder = BadImages(str(tmp_path / "bad.csv"), 0.01, epoch_size=100)
    recorder.add([("a.jpg", "gone"), ("b.jpg", "gone")], 97)
    with pytest.raises(UserError, match="2 of the 100"):
        recorder.add([], 1)


def test_hook_hands_the_recorder_to_the_step_and_counts(tmp_path, caplog):
    hook = BadImagesHook(str(tmp_path), 0.01)
    step = SimpleNamespace(data_loader=SimpleNamespace(dataset=range(70)))
    with EventStorage(0) as storage:
        hook.trainer = SimpleNamespace(_trainer=step, storage=storage)
        hook.before_train()
        assert step.bad_images.epoch_size == 70
        step.bad_images.add([("a.jpg", "gone")], 500)
        hook.after_step()
        assert storage.latest()["bad_images"][0] == 1
        with caplog.at_level(logging.WARNING):
            hook.after_train()
    assert "1 of 501 images" in caplog.text and "bad_images.csv" in caplog.text
    assert (tmp_path / "bad_images.csv").is_file()
