"""What the configs of released person backbones say, by name; where it differs, by data set."""

from __future__ import annotations

from typing import Any

DATA_SETS = ("Market1501", "MSMT17", "OccludedDuke")
HALF, IMAGENET_MEAN = [127.5] * 3, [123.675, 116.28, 103.53]
WIDTH = {"small": 384, "base": 768}


def _ssl(vit: str, file: str) -> dict[str, Any]:
    """The recipe of TransReID-SSL."""
    return {
        "MODEL.BACKBONE.TIMM_NAME": f"vit_{vit}_patch16_224",
        "MODEL.BACKBONE.FEAT_DIM": WIDTH[vit],
        "MODEL.BACKBONE.PRETRAIN_PATH": f"weights/{file}",
        "MODEL.BACKBONE.PRETRAIN_GRID": (16, 8),
        "MODEL.BACKBONE.STRIDE_SIZE": (16, 16),
        "MODEL.HEADS.NAME": "BNNeckHead",
        "MODEL.LOSSES.GLOBAL_WEIGHT": 1.0,
        "MODEL.SIE.CAMERA": False,
        "MODEL.PIXEL_MEAN": HALF,
        "MODEL.PIXEL_STD": HALF,
        "INPUT.SIZE_TRAIN": [256, 128],
        "SOLVER.OPT": "SGD",
        "SOLVER.BASE_LR": 4e-4,
        "SOLVER.WARMUP_EPOCHS": 20,
        "SOLVER.MAX_EPOCH": 120,
        "SOLVER.IMS_PER_BATCH": 64,
        "DATALOADER.NUM_INSTANCE": 4,
    }


PERSON_CONFIGS: dict[str, dict[str, Any]] = {
    "personvit_vit_small": _ssl("small", "personvit_vits.pth"),
    "personvit_vit_base": _ssl("base", "personvit_vitb.pth"),
}
DIFFERENT: dict[tuple[str, str], dict[str, Any]] = {
    ("Market1501", "personvit_vit_base"): {"SOLVER.WARMUP_EPOCHS": 5},
}


def expected_values(dataset: str, name: str) -> dict[str, Any]:
    """Keys and values of a config."""
    ours = {
        "DATASETS.NAMES": (dataset,),
        "DATASETS.TESTS": (dataset,),
        "OUTPUT_DIR": f"logs/{dataset}/{name}",
    }
    return PERSON_CONFIGS[name] | ours | DIFFERENT.get((dataset, name), {})
