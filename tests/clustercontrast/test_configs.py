"""Every config can run, and the released recipe is what it says."""

from __future__ import annotations

from pathlib import Path

import clustercontrast
import pytest
import torch
from clustercontrast.data.transforms import build_cluster_transforms
from PIL import Image
from reid_core.config import load_config, trainer_class
from reid_core.run.validation import validate_config

CONFIGS = Path(__file__).parents[2] / "projects" / "ClusterContrast" / "configs"
LEAVES = sorted(p for p in CONFIGS.glob("**/*.yml") if not p.name.startswith("Base-"))
USL = CONFIGS / "Market1501" / "usl_vit_small.yml"


@pytest.mark.parametrize("path", LEAVES, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_every_config_is_valid(path: Path) -> None:
    cfg = load_config(path, ["MODEL.BACKBONE.PRETRAIN", False, "MODEL.DEVICE", "cpu"])
    validate_config(cfg)
    assert trainer_class(cfg) is clustercontrast.ClusterContrastTrainer
    assert cfg.OUTPUT_DIR.startswith(f"logs/{path.parent.name}/")
    if path.parent.name == "MSMT17":
        assert cfg.DATASETS.NAMES == ("MSMT17TrainVal",) and cfg.DATASETS.TESTS == ("MSMT17",)


def test_the_released_recipe() -> None:
    cfg = load_config(USL)
    solver, cluster = cfg.SOLVER, cfg.CLUSTER
    assert (solver.OPT, solver.BASE_LR, solver.GAMMA) == ("SGD", 3.5e-4, 0.1)
    assert (list(solver.STEPS), solver.MAX_EPOCH, solver.IMS_PER_BATCH) == ([20, 40], 50, 256)
    assert solver.WEIGHT_DECAY == solver.WEIGHT_DECAY_NORM == solver.WEIGHT_DECAY_BIAS == 5e-4
    assert (solver.MOMENTUM, solver.BIAS_LR_FACTOR, solver.WARMUP_ITERS) == (0.9, 1.0, 0)
    assert (cluster.EPS, cluster.K1, cluster.K2, cluster.MIN_SAMPLES) == (0.6, 30, 6, 4)
    assert (cluster.TEMPERATURE, cluster.MOMENTUM, cluster.UPDATE) == (0.05, 0.2, "hard")
    assert (cluster.ITERATIONS, cluster.BN_GROUP, cfg.DATALOADER.NUM_INSTANCE) == (200, 64, 8)
    msmt17 = load_config(CONFIGS / "MSMT17" / "usl_vit_small.yml").CLUSTER
    assert (msmt17.EPS, msmt17.BN_GROUP) == (0.7, 128)


def test_colour_of_what_is_erased() -> None:
    """(0.485, 0.456, 0.406) after the model has normalised, for both means."""
    for name in ("usl_vit_small", "usl_r50"):
        cfg = load_config(CONFIGS / "Market1501" / f"{name}.yml")
        value, mean, std = map(
            torch.tensor, (cfg.INPUT.REA.VALUE, cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD)
        )
        expected = torch.tensor([0.485, 0.456, 0.406])
        torch.testing.assert_close((value - mean) / std, expected, rtol=0, atol=1e-5)


def test_augmentation() -> None:
    cfg = load_config(USL, ["INPUT.REA.PROB", 1.0])
    image = Image.new("RGB", (40, 90), (255, 255, 255))
    for _ in range(20):
        found = build_cluster_transforms(cfg, is_train=True)(image)
        assert found.shape == (3, 256, 128)
        erased = (found[0] - cfg.INPUT.REA.VALUE[0]).abs() < 1e-3
        assert 0.015 < erased.float().mean() < 0.41
    assert (build_cluster_transforms(cfg, is_train=False)(image) == 255).all()
