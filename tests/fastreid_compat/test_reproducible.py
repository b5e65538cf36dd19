"""One seed gives one stream of batches, from any point on."""

from __future__ import annotations

import random
import types

import numpy as np
import pytest
import torch
from fastreid.data import build, samplers
from fastreid.engine.train_loop import SimpleTrainer
from fastreid_compat.repairs.loading import reproducible


@pytest.fixture
def cfg(tiny_cfg):
    tiny_cfg.SEED = 5
    tiny_cfg.DATALOADER.NUM_WORKERS = 0
    tiny_cfg.INPUT.FLIP.ENABLED = True  # torch's generator
    tiny_cfg.INPUT.REA.ENABLED = True
    tiny_cfg.INPUT.AUTOAUG.ENABLED = True  # Python's
    tiny_cfg.INPUT.AUTOAUG.PROB = 0.5
    tiny_cfg.INPUT.AUGMIX.ENABLED = True  # numpy's
    tiny_cfg.INPUT.AUGMIX.PROB = 0.5
    return tiny_cfg


def train_loader(cfg, **keys):
    for key, value in keys.items():
        cfg.merge_from_list([key.replace("__", "."), value])
    return build.build_reid_train_loader(cfg, combineall=False)


def first(loader, count):
    stream = iter(loader)
    batches = [next(stream) for _ in range(count)]
    loader.shutdown()
    return batches


def same(left, right):
    return len(left) == len(right) and all(
        a["img_paths"] == b["img_paths"] and torch.equal(a["images"], b["images"])
        for a, b in zip(left, right, strict=True)
    )


def disturb():
    random.seed(random.random())
    np.random.seed(np.random.randint(1000))
    torch.manual_seed(int(torch.randint(1000, ())))


@pytest.mark.parametrize("sampler", ["NaiveIdentitySampler", "ImbalancedDatasetSampler"])
def test_same_seed_same_batches_for_any_number_of_workers(cfg, sampler):
    cfg.DATALOADER.SAMPLER_TRAIN = sampler
    reference = first(train_loader(cfg), 5)
    for workers in (0, 2):
        disturb()
        assert same(first(train_loader(cfg, DATALOADER__NUM_WORKERS=workers), 5), reference)


@pytest.mark.parametrize("seed", [6, -1])
def test_other_seed_other_batches(cfg, seed):
    assert not same(first(train_loader(cfg), 3), first(train_loader(cfg, SEED=seed), 3))


def test_draws_differ_along_the_stream(cfg):
    cfg.DATALOADER.SAMPLER_TRAIN = "TrainingSampler"
    batches = first(train_loader(cfg), 12)
    seen: dict[str, set[bytes]] = {}
    for batch in batches:
        for path, image in zip(batch["img_paths"], batch["images"], strict=True):
            seen.setdefault(path, set()).add(image.numpy().tobytes())
    assert sum(len(images) for images in seen.values()) > 2 * len(seen)


def test_ranks_draw_differently():
    draws = []
    for rank in (0, 1):
        with reproducible.draws_of(reproducible.SeededIndex.of(3, 5, rank, 0)):
            draws.append((random.random(), np.random.rand(), float(torch.rand(()))))
    assert not set(draws[0]) & set(draws[1])


def test_loading_leaves_the_models_random_numbers_alone(cfg):
    loader = train_loader(cfg)

    def draws(load):
        random.seed(0), np.random.seed(0), torch.manual_seed(0)
        if load:
            first(loader, 2)
        return random.random(), np.random.rand(), float(torch.rand(()))

    assert draws(load=False) == draws(load=True)


@pytest.mark.parametrize("workers", [0, 2])
def test_skipped_batches_are_the_head_of_the_stream(cfg, workers):
    whole = first(train_loader(cfg), 7)
    loader = train_loader(cfg, DATALOADER__NUM_WORKERS=workers)
    assert reproducible.skip_batches(loader, 4)
    assert same(first(loader, 3), whole[4:])


@pytest.mark.parametrize("workers", [0, 2])
def test_trainer_restarts_in_the_middle(cfg, workers):
    whole = first(train_loader(cfg), 6)
    loader = train_loader(cfg, DATALOADER__NUM_WORKERS=workers)
    simple = SimpleTrainer(torch.nn.Linear(1, 1), loader, None, None)
    reproducible.restart_at(types.SimpleNamespace(_trainer=simple), 3)
    assert same([next(simple._data_loader_iter) for _ in range(3)], whole[3:])
    loader.shutdown()


def test_skipping_loads_no_image(cfg, monkeypatch):
    loader = train_loader(cfg)
    loaded = []
    original = type(loader.dataset).__getitem__
    monkeypatch.setattr(
        type(loader.dataset), "__getitem__", lambda self, i: loaded.append(i) or original(self, i)
    )
    reproducible.skip_batches(loader, 50)
    first(loader, 1)
    assert len(loaded) == 2 * 8  # one batch ahead


def test_foreign_loader_starts_anew_with_a_warning(caplog):
    loader = torch.utils.data.DataLoader([1, 2, 3])
    trainer = SimpleTrainer(torch.nn.Linear(1, 1), loader, None, None)
    reproducible.restart_at(trainer, 2)
    assert "begin anew" in caplog.text


ITEMS = [(f"{pid}-{cam}-{i}.jpg", f"p_{pid}", f"p_{cam}") for pid in range(6) for cam in range(2)
         for i in range(3)]  # fmt: skip

MAKERS = {
    "training": lambda: samplers.TrainingSampler(len(ITEMS), seed=3),
    "naive": lambda: samplers.NaiveIdentitySampler(ITEMS, 8, 2, seed=3),
    "balanced": lambda: samplers.BalancedIdentitySampler(ITEMS, 8, 2, seed=3),
    "imbalanced": lambda: samplers.ImbalancedDatasetSampler(ITEMS, seed=3),
}


@pytest.mark.parametrize("name", MAKERS)
def test_sampler_keeps_to_its_own_generator(name):
    def indices(between):
        stream = iter(MAKERS[name]())
        chosen = []
        for _ in range(100):
            between()
            chosen.append(int(next(stream)))
        return chosen

    np.random.seed(0)
    torch.manual_seed(0)
    state = np.random.get_state()[1].copy()
    quiet = indices(lambda: None)
    assert (np.random.get_state()[1] == state).all()
    assert indices(disturb) == quiet


def test_order_for_a_seed_is_fastreids():
    """FastReID draws from numpy's global generator, seeded: the first epoch is its permutation."""
    stream = iter(MAKERS["training"]())
    expected = np.random.RandomState(3).permutation(len(ITEMS))
    assert [next(stream) for _ in ITEMS] == expected.tolist()
