"""Devices, seeds, new keys, and errors of the configuration."""

from __future__ import annotations

import argparse
import logging
import random

import numpy as np
import pytest
import torch
from fastreid.config import get_cfg
from fastreid.engine import default_setup
from fastreid.modeling import backbones, meta_arch
from fastreid_compat.repairs.config import settings
from reid_common.errors import UserError

no_cuda = pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")


@no_cuda
def test_default_device_is_the_cpu():
    assert get_cfg().MODEL.DEVICE == "cpu"


@no_cuda
def test_model_for_cuda_is_built_on_the_cpu_with_one_warning(tiny_cfg, caplog):
    tiny_cfg.MODEL.DEVICE = "cuda"
    tiny_cfg.MODEL.HEADS.NUM_CLASSES = 4
    tiny_cfg.freeze()
    settings._warn_no_cuda.cache_clear()
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            model = meta_arch.build_model(tiny_cfg)
    assert model.device.type == "cpu"
    assert [r.name for r in caplog.records].count(settings.__name__) == 1
    assert tiny_cfg.MODEL.DEVICE == "cuda"  # the caller's config stays as it was


def test_device_is_kept_where_there_is_cuda(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    cfg = get_cfg()
    cfg.MODEL.DEVICE = "cuda:1"
    assert settings.resolve_device(cfg) == "cuda:1"


def test_new_keys_can_be_merged(tmp_path):
    path = tmp_path / "a.yml"
    path.write_text('SEED: 3\nDATASETS:\n  CAMERAS: ("msmt17:15", "market1501:6")\n')
    cfg = get_cfg()
    assert cfg.SEED == -1 and cfg.DATASETS.CAMERAS == ()
    cfg.merge_from_file(str(path))
    assert cfg.SEED == 3 and cfg.DATASETS.CAMERAS == ("msmt17:15", "market1501:6")
    cfg.merge_from_list(["DATASETS.CAMERAS", "('veri:20',)"])
    assert cfg.DATASETS.CAMERAS == ("veri:20",)


def draws_after_setup(cfg, seed):
    cfg.SEED = seed
    default_setup(cfg, argparse.Namespace())
    return random.random(), float(np.random.rand()), float(torch.rand(()))


def test_setup_seeds_everything(tiny_cfg):
    first, same, other = (draws_after_setup(tiny_cfg, seed) for seed in (7, 7, 8))
    assert first == same
    assert not set(first) & set(other)


def test_setup_without_seed_draws_one(tiny_cfg):
    assert draws_after_setup(tiny_cfg, -1) != draws_after_setup(tiny_cfg, -1)


@pytest.mark.parametrize(
    ("name", "depth"), [("build_regnet_backbone", "200y"), ("build_effnet_backbone", "b0")]
)
def test_backbones_with_files_of_their_own(name, depth, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cfg = get_cfg()
    cfg.MODEL.BACKBONE.NAME = name
    cfg.MODEL.BACKBONE.DEPTH = depth
    assert sum(p.numel() for p in backbones.build_backbone(cfg).parameters()) > 1e6


CONFIGS = {
    "MODEL:\n  BACKBON:\n    NAME: x\n": ["MODEL.BACKBON;", "MODEL.BACKBONE?"],
    "SOLVER:\n  BASELR: 1.0\n": ["SOLVER.BASELR;", "SOLVER.BASE_LR?"],
    "SOLVER:\n  BASE_LR: fast\n": ["SOLVER.BASE_LR", "fast"],
    "_BASE_: missing.yml\n": ["missing.yml", "No such file"],
    "SOLVER: [\n": ["not valid YAML"],
    "": ["SEED: 1"],
}


@pytest.mark.parametrize("text", CONFIGS)
def test_config_error_names_file_and_key(tmp_path, text):
    path = tmp_path / "run.yml"
    path.write_text(text)
    with pytest.raises(UserError) as raised:
        get_cfg().merge_from_file(str(path))
    for part in [str(path), *CONFIGS[text]]:
        assert part in str(raised.value)


def test_missing_config_file():
    with pytest.raises(UserError, match=r"cannot read 'nowhere\.yml': No such file"):
        get_cfg().merge_from_file("nowhere.yml")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["MODEL.BACKBONE.DEPHT", "50x"],
            "MODEL.BACKBONE.DEPHT; did you mean MODEL.BACKBONE.DEPTH",
        ),
        (["seed", "1"], "did you mean SEED"),
        (["SEED"], "odd length"),
        (["SEED", "a"], "SEED"),
    ],
)
def test_command_line_error_names_key(options, message):
    with pytest.raises(UserError, match=message):
        get_cfg().merge_from_list(options)
