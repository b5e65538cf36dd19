"""Fixtures for all tests: a tiny data set, a tiny config, few threads, a fixed seed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import reid_core  # noqa: F401  (first: repairs FastReID)
import torch
import yaml
from fastreid.config import get_cfg
from reid_core.data.opened_sets import forget_opened_sets
from reid_core.run.command_line import forget_loggers
from small_dino import small_dino_cfg, write_noise
from small_transreid import make_small_transreid
from synthetic import write_market

# Every test of a config reads three files or so: PyYAML's parser in C takes a tenth of the time.
yaml.SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
yaml.SafeDumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

# The first backward pass of a process starts autograd's threads: one after torch.export or
# torch.compile was used would start some that forks, in which tests train, cannot do without.
torch.ones(1, requires_grad=True).sum().backward()


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _fresh_loggers() -> Iterator[None]:
    """FastReID's loggers keep the output stream of the test that set them up, which is closed."""
    yield
    forget_loggers()


@pytest.fixture(autouse=True)
def _no_opened_sets() -> None:
    """Tests register data sets and change their classes, which an opened set does not see."""
    forget_opened_sets()


@pytest.fixture(scope="session")
def market_root(tmp_path_factory: pytest.TempPathFactory):
    """A data root with a tiny Market-1501 (4 train and 3 test identities, 3 cameras); read-only."""
    root = tmp_path_factory.mktemp("datasets")
    write_market(root)
    return root


@pytest.fixture
def tiny_cfg(market_root, tmp_path, monkeypatch):
    """FastReID's config for a ResNet-18 on the tiny Market-1501, on the CPU, 2 epochs."""
    monkeypatch.setenv("FASTREID_DATASETS", str(market_root))
    cfg = get_cfg()
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.BACKBONE.DEPTH = "18x"
    cfg.MODEL.BACKBONE.FEAT_DIM = 512
    cfg.MODEL.HEADS.WITH_BNNECK = True
    cfg.MODEL.LOSSES.NAME = ("CrossEntropyLoss", "TripletLoss")
    cfg.INPUT.SIZE_TRAIN = cfg.INPUT.SIZE_TEST = [64, 32]
    cfg.DATALOADER.SAMPLER_TRAIN = "NaiveIdentitySampler"
    cfg.DATALOADER.NUM_INSTANCE = 2
    cfg.DATALOADER.NUM_WORKERS = 1
    cfg.SOLVER.IMS_PER_BATCH = 8
    cfg.SOLVER.MAX_EPOCH = 2
    cfg.SOLVER.WARMUP_ITERS = 0
    cfg.SOLVER.CHECKPOINT_PERIOD = 1
    cfg.TEST.EVAL_PERIOD = 2
    cfg.TEST.IMS_PER_BATCH = 8
    cfg.OUTPUT_DIR = str(tmp_path / "logs")
    return cfg


@pytest.fixture
def transreid_cfg(tiny_cfg):
    """A two-block vit_tiny with JPM and camera SIE at 64x32, on the tiny Market-1501."""
    return make_small_transreid(tiny_cfg)


@pytest.fixture
def dino_cfg(tmp_path):
    """A tiny DINO run: 24 images of noise, a ViT of two blocks, views of 32x16 and 16x8."""
    write_noise(tmp_path / "pool")
    return small_dino_cfg(tmp_path / "pool", tmp_path / "logs")
