"""The configs of the released models and of TransReID-SSL say what the released ones say."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import NamedTuple

import pytest
from person_configs import DATA_SETS, PERSON_CONFIGS, expected_values
from reid_common.errors import UserError
from reid_core.config import load_config
from reid_core.run.validation import validate_config

CONFIGS = Path(__file__).parents[2] / "projects" / "TransReID" / "configs"
VIT, DEIT = "vit_base_patch16_224.orig_in21k_ft_in1k", "deit_base_distilled_patch16_224"
HALF = ([127.5] * 3, [127.5] * 3)
IMAGENET = ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375])


class DataSet(NamedTuple):
    """What a row of the released table says of all its configs."""

    cameras: int
    views: int
    size: tuple[int, int]
    stride: int
    shift: int
    base_lr: float
    batch: int


SETS = {
    "Market1501": DataSet(6, 0, (256, 128), 12, 5, 0.008, 64),
    "DukeMTMC": DataSet(8, 0, (256, 128), 12, 5, 0.008, 64),
    "MSMT17": DataSet(15, 0, (256, 128), 12, 5, 0.008, 64),
    "OccludedDuke": DataSet(8, 0, (256, 128), 11, 5, 0.008, 64),
    "VeRi": DataSet(20, 8, (256, 256), 12, 8, 0.01, 64),
    "VehicleID": DataSet(0, 0, (256, 256), 12, 8, 0.045, 256),
}
OCCLUDED = ["vit_base", "vit_jpm", "vit_sie", "vit_transreid"]
OCCLUDED += ["vit_transreid_stride", "deit_transreid_stride"]
PERSON = [*OCCLUDED, "vit_transreid_384", "vit_transreid_stride_384"]
VEHICLE = ["vit_base", "vit_transreid", "vit_transreid_stride"]
VEHICLE += ["deit_transreid", "deit_transreid_stride"]
RELEASED = {
    "Market1501": PERSON,
    "DukeMTMC": PERSON,
    "MSMT17": [*PERSON, "deit_small", "vit_small"],
    "OccludedDuke": OCCLUDED,
    "VeRi": VEHICLE,
    "VehicleID": VEHICLE,
}
SSL = ["ssl_vit_small", "ssl_vit_small_ics", "ssl_vit_base", "ssl_vit_base_ics_384"]
# Where a config's learning rate or batch is not that of its data set.
BASE_LR = {
    ("MSMT17", "deit_transreid_stride"): 0.005,
    ("MSMT17", "deit_small"): 0.005,
    ("MSMT17", "vit_small"): 0.005,
    ("VeRi", "vit_base"): 0.008,
    ("VehicleID", "vit_base"): 0.04,
    ("VehicleID", "deit_transreid"): 0.03,
    ("VehicleID", "deit_transreid_stride"): 0.03,
}
BATCH = {("VehicleID", "vit_base"): 224, ("VehicleID", "vit_transreid"): 224}
TIMM_NAME = {
    "deit_small": "deit_small_distilled_patch16_224",
    "vit_small": "vit_small_8l_transreid",
}

MODELS = ("base", "jpm", "sie", "transreid")
FROM_SCRATCH = [f"small_{budget}{model}" for budget in ("", "cpu_") for model in MODELS]


def values(cfg, *keys: str) -> dict[str, object]:
    """What a config says to these keys, by key."""
    return {key: functools.reduce(getattr, key.split("."), cfg) for key in keys}


# What all released configs share.
RECIPE = {
    "SOLVER.OPT": "SGD",
    "SOLVER.MOMENTUM": 0.9,
    "SOLVER.NESTEROV": False,
    "SOLVER.WEIGHT_DECAY": 1e-4,
    "SOLVER.WEIGHT_DECAY_NORM": 1e-4,
    "SOLVER.WEIGHT_DECAY_BIAS": 1e-4,
    "SOLVER.BIAS_LR_FACTOR": 2.0,
    "SOLVER.HEADS_LR_FACTOR": 1.0,
    "SOLVER.SCHED": "WarmupCosineLR",
    "SOLVER.MAX_EPOCH": 120,
    "SOLVER.WARMUP_ITERS": 0,
    "SOLVER.WARMUP_FACTOR": 0.01,
    "SOLVER.ETA_MIN_FACTOR": 0.002,
    "SOLVER.AMP.ENABLED": True,
    "SOLVER.CLIP_GRADIENTS.ENABLED": False,
    "DATALOADER.SAMPLER_TRAIN": "NaiveIdentitySampler",
    "DATALOADER.NUM_INSTANCE": 4,
    "MODEL.LOSSES.NAME": ("CrossEntropyLoss", "TripletLoss"),
    "MODEL.LOSSES.CE.EPSILON": 0.0,
    "MODEL.LOSSES.CE.SCALE": 1.0,
    "MODEL.LOSSES.TRI.SCALE": 1.0,
    "MODEL.LOSSES.TRI.MARGIN": 0.0,
    "MODEL.LOSSES.TRI.HARD_MINING": True,
    "MODEL.LOSSES.TRI.NORM_FEAT": False,
    "MODEL.LOSSES.LOCAL_WEIGHT": 0.5,
    "MODEL.HEADS.NECK_FEAT": "before",
    "MODEL.HEADS.TEST_NECK_FEAT": "before",
    "MODEL.BACKBONE.PRETRAIN": True,
    "MODEL.BACKBONE.SIE_COE": 3.0,
    "MODEL.BACKBONE.DROP_PATH_RATIO": 0.1,
    "MODEL.JPM.NUM_PARTS": 4,
    "MODEL.JPM.SHUFFLE_GROUPS": 2,
    "INPUT.TRANSFORM": "TransReID",
    "INPUT.FLIP.ENABLED": True,
    "INPUT.FLIP.PROB": 0.5,
    "INPUT.PADDING.ENABLED": True,
    "INPUT.PADDING.SIZE": 10,
    "INPUT.REA.ENABLED": True,
    "INPUT.REA.PROB": 0.5,
}


@pytest.mark.parametrize(
    ("dataset", "name"), [(dataset, name) for dataset in RELEASED for name in RELEASED[dataset]]
)
def test_a_released_config(dataset: str, name: str) -> None:
    row = SETS[dataset]
    parts = "jpm" in name or "transreid" in name
    embeds = "sie" in name or "transreid" in name
    size = [384, 128] if name.endswith("384") else list(row.size)
    mean, std = IMAGENET if row.size == (256, 256) and name.startswith("deit") else HALF
    vehicleid = ("SmallVehicleID", "MediumVehicleID", "LargeVehicleID")
    expected = RECIPE | {
        "MODEL.BACKBONE.TIMM_NAME": TIMM_NAME.get(name, DEIT if name.startswith("deit") else VIT),
        "MODEL.BACKBONE.STRIDE_SIZE": (row.stride if "stride" in name else 16,) * 2,
        "MODEL.BACKBONE.STEM": "patch",
        "MODEL.HEADS.NAME": "JPMHead" if parts else "BNNeckHead",
        # The released code halves the losses with parts only.
        "MODEL.LOSSES.GLOBAL_WEIGHT": 0.5 if parts else 1.0,
        "MODEL.JPM.SHIFT_NUM": row.shift,
        "MODEL.SIE.CAMERA": embeds and row.cameras > 0,
        "MODEL.SIE.VIEW": embeds and row.views > 0,
        "MODEL.SIE.NUM_CAMERAS": row.cameras,
        "MODEL.SIE.NUM_VIEWS": row.views,
        "MODEL.PIXEL_MEAN": mean,
        "MODEL.PIXEL_STD": std,
        "INPUT.SIZE_TRAIN": size,
        "INPUT.SIZE_TEST": size,
        "SOLVER.BASE_LR": BASE_LR.get((dataset, name), row.base_lr),
        "SOLVER.WARMUP_EPOCHS": 5,
        "SOLVER.IMS_PER_BATCH": BATCH.get((dataset, name), row.batch),
        "DATASETS.NAMES": (dataset,),
        "DATASETS.TESTS": vehicleid if dataset == "VehicleID" else (dataset,),
        "OUTPUT_DIR": f"logs/{dataset}/{name}",
    }
    assert values(load_config(CONFIGS / dataset / f"{name}.yml"), *expected) == expected


@pytest.mark.parametrize("dataset", ["Market1501", "MSMT17"])
@pytest.mark.parametrize("name", SSL)
def test_a_config_of_transreid_ssl(dataset: str, name: str) -> None:
    vit = "base" if "base" in name else "small"
    size = [384, 128] if name.endswith("384") else [256, 128]
    expected = RECIPE | {
        "MODEL.BACKBONE.TIMM_NAME": f"vit_{vit}_patch16_224",
        "MODEL.BACKBONE.FEAT_DIM": {"base": 768, "small": 384}[vit],
        "MODEL.BACKBONE.STEM": "ics" if "ics" in name else "patch",
        "MODEL.BACKBONE.STRIDE_SIZE": (16, 16),
        "MODEL.BACKBONE.PRETRAIN_GRID": (16, 8),
        "MODEL.HEADS.NAME": "BNNeckHead",
        "MODEL.LOSSES.GLOBAL_WEIGHT": 1.0,
        "MODEL.SIE.CAMERA": False,
        "MODEL.SIE.VIEW": False,
        "MODEL.PIXEL_MEAN": HALF[0],
        "MODEL.PIXEL_STD": HALF[1],
        "INPUT.SIZE_TRAIN": size,
        "INPUT.SIZE_TEST": size,
        "SOLVER.BASE_LR": 0.0004,
        "SOLVER.WARMUP_EPOCHS": 20,
        "SOLVER.IMS_PER_BATCH": 64,
        "DATASETS.NAMES": (dataset,),
        "DATASETS.TESTS": (dataset,),
        "OUTPUT_DIR": f"logs/{dataset}/{name}",
    }
    assert values(load_config(CONFIGS / dataset / f"{name}.yml"), *expected) == expected


def test_no_config_is_left_out() -> None:
    expected = {f"{dataset}/{name}" for dataset, names in RELEASED.items() for name in names}
    expected |= {f"{dataset}/{name}" for dataset in ("Market1501", "MSMT17") for name in SSL}
    expected |= {f"{dataset}/{name}" for dataset in DATA_SETS for name in PERSON_CONFIGS}
    found = {f"{p.parent.name}/{p.stem}" for p in CONFIGS.glob("*/*.yml") if "Base-" not in p.name}
    expected |= {f"Market1501/{name}" for name in FROM_SCRATCH}
    assert {name for name in found if not name.startswith("ToyReID/")} == expected


@pytest.mark.parametrize("dataset", DATA_SETS)
@pytest.mark.parametrize("name", PERSON_CONFIGS)
def test_a_config_of_a_person_backbone(dataset: str, name: str) -> None:
    expected = expected_values(dataset, name)
    assert values(load_config(CONFIGS / dataset / f"{name}.yml"), *expected) == expected


@pytest.mark.parametrize("name", FROM_SCRATCH)
def test_a_config_from_random_weights(name: str) -> None:
    """Nothing that collapses without pre-trained weights."""
    parts, embeds = "jpm" in name or "transreid" in name, "sie" in name or "transreid" in name
    expected = {
        "MODEL.BACKBONE.PRETRAIN": False,
        "MODEL.LOSSES.TRI.HARD_MINING": False,
        "MODEL.HEADS.TEST_NECK_FEAT": "centered",
        "MODEL.HEADS.NAME": "JPMHead" if parts else "BNNeckHead",
        "MODEL.LOSSES.GLOBAL_WEIGHT": 0.5 if parts else 1.0,
        "MODEL.SIE.CAMERA": embeds,
        "MODEL.SIE.NUM_CAMERAS": 6,
        "SOLVER.OPT": "AdamW",
        "OUTPUT_DIR": f"logs/Market1501/{name}",
    }
    assert values(load_config(CONFIGS / "Market1501" / f"{name}.yml"), *expected) == expected


@pytest.mark.parametrize(
    "path", sorted(CONFIGS.glob("*/*.yml")), ids=lambda p: f"{p.parent.name}-{p.stem}"
)
def test_every_config_passes_the_checks_before_a_run(path: Path) -> None:
    """But for the weights that no hub has, whose absence is named."""
    cfg = load_config(path)
    weights = cfg.MODEL.BACKBONE.PRETRAIN_PATH
    if weights:
        assert weights.startswith("weights/")
        with pytest.raises(UserError, match=f"PRETRAIN_PATH: there is no file '{weights}'"):
            validate_config(cfg)
        cfg.MODEL.BACKBONE.PRETRAIN_PATH = ""
    validate_config(cfg)
