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


def _pass(vit: str) -> dict[str, Any]:
    """TransReID-SSL's recipe with part tokens."""
    parts = {"MODEL.BACKBONE.PART_TOKENS": 3, "MODEL.HEADS.NAME": "PartTokenHead"}
    parts |= {"MODEL.HEADS.PART_MIX": "cat", "MODEL.HEADS.PART_NECKS": "each"}
    return _ssl(vit, f"pass_vit_{vit}_full.pth") | parts


PIXELS = {"MODEL.PIXEL_MEAN": IMAGENET_MEAN, "MODEL.PIXEL_STD": [58.395, 57.12, 57.375]}


def _hap(file: str, grid: tuple[int, ...]) -> dict[str, Any]:
    """HAP's recipe, by its authors' code."""
    return PIXELS | {
        "MODEL.BACKBONE.TIMM_NAME": "vit_base_patch16_224",
        "MODEL.BACKBONE.PRETRAIN_PATH": f"weights/{file}",
        "MODEL.BACKBONE.PRETRAIN_GRID": grid,
        "MODEL.BACKBONE.DROP_PATH_RATIO": 0.1,
        "MODEL.HEADS.NAME": "LinearHead",
        "MODEL.LOSSES.GLOBAL_WEIGHT": 0.5,
        "MODEL.LOSSES.CE.EPSILON": 0.0,
        "MODEL.LOSSES.TRI.MARGIN": 0.0,
        "INPUT.TRANSFORM": "TransReIDBicubic",
        "INPUT.SIZE_TRAIN": [256, 128],
        "SOLVER.OPT": "AdamW",
        "SOLVER.BASE_LR": 8e-3,
        "SOLVER.BIAS_LR_FACTOR": 1.0,
        "SOLVER.LAYER_DECAY": 0.4,
        "SOLVER.WEIGHT_DECAY": 0.05,
        "SOLVER.WEIGHT_DECAY_NORM": 0.0,
        "SOLVER.WEIGHT_DECAY_BIAS": 0.0,
        "SOLVER.SCHED": "CosineAnnealingLR",
        "SOLVER.ETA_MIN_LR": 0.0,
        "SOLVER.WARMUP_FACTOR": 0.0,
        "SOLVER.DELAY_EPOCHS": 5,
        "SOLVER.MAX_EPOCH": 100,
        "SOLVER.IMS_PER_BATCH": 64,
        "DATALOADER.NUM_INSTANCE": 8,
    }


LEM = {
    "MODEL.HEADS.NAME": "LocalityHead",
    "MODEL.LOSSES.GLOBAL_WEIGHT": 0.25,
    "MODEL.LOSSES.LOCAL_WEIGHT": 0.25,
    "INPUT.SIZE_TRAIN": [384, 128],
    "INPUT.SIZE_TEST": [384, 128],
}


def _dino(name: str, grid: tuple[int, ...], patch: int, size: list[int]) -> dict[str, Any]:
    """TransReID-SSL's recipe on timm's weights."""
    return (
        _ssl("base", "")
        | PIXELS
        | {
            "MODEL.BACKBONE.PRETRAIN_GRID": grid,
            "MODEL.BACKBONE.TIMM_NAME": name,
            "MODEL.BACKBONE.PRETRAIN_PATH": "",
            "MODEL.BACKBONE.STRIDE_SIZE": (patch, patch),
            "INPUT.SIZE_TRAIN": size,
            "INPUT.SIZE_TEST": size,
        }
    )


def _solider(swin: str, dim: int, base_lr: float) -> dict[str, Any]:
    """TransReID-SSL's recipe at 384x128 with the authors' learning rate."""
    return _ssl("base", f"solider_swin_{swin}.pth") | {
        "MODEL.BACKBONE.TIMM_NAME": "vit_base_patch16_224.orig_in21k_ft_in1k",  # not read
        "MODEL.BACKBONE.NAME": "build_swin_backbone",
        "MODEL.BACKBONE.SWIN": swin,
        "MODEL.BACKBONE.FEAT_DIM": dim,
        "MODEL.BACKBONE.SEMANTIC_WEIGHT": 0.2,
        "INPUT.SIZE_TRAIN": [384, 128],
        "INPUT.SIZE_TEST": [384, 128],
        "SOLVER.BASE_LR": base_lr,
    }


LUPERSON_R50 = {
    "MODEL.META_ARCHITECTURE": "LUPersonMGN",
    "MODEL.FREEZE_LAYERS": ["backbone", "b1", "b2", "b3"],
    "MODEL.BACKBONE.PRETRAIN_PATH": "weights/lupws_r50.pth",
    "MODEL.PIXEL_MEAN": [89.896, 79.200, 80.073],
    "MODEL.PIXEL_STD": [63.872, 64.305, 63.839],
    "INPUT.SIZE_TRAIN": [384, 128],
    "INPUT.REA.VALUE": [0.0, 0.0, 0.0],
    "SOLVER.OPT": "Adam",
    "SOLVER.BASE_LR": 3.5e-4,
    "SOLVER.SCHED": "CosineAnnealingLR",
    "SOLVER.ETA_MIN_LR": 7.7e-7,
    "SOLVER.WARMUP_FACTOR": 0.01,
    "SOLVER.DELAY_EPOCHS": 30,
    "SOLVER.MAX_EPOCH": 60,
    "SOLVER.IMS_PER_BATCH": 64,
    "DATALOADER.NUM_INSTANCE": 16,
}
LUPERSON_NL = {  # the released fractions, times 255
    "MODEL.BACKBONE.PRETRAIN_PATH": "weights/lupnl_r50.pth",
    "MODEL.PIXEL_MEAN": [88.026, 78.285, 79.407],
    "MODEL.PIXEL_STD": [67.142, 63.750, 63.240],
}


def _clip_reid(stride: int, sie: bool) -> dict[str, Any]:
    """The baseline of CLIP-ReID."""
    return {
        "MODEL.BACKBONE.TIMM_NAME": "vit_base_patch16_clip_quickgelu_224.openai",
        "MODEL.BACKBONE.PROJECTION": 512,
        "MODEL.BACKBONE.STRIDE_SIZE": (stride, stride),
        "MODEL.BACKBONE.SIE_COE": 1.0,
        "MODEL.SIE.CAMERA": sie,
        "MODEL.SIE.TOKENS": "cls",
        "MODEL.HEADS.NAME": "CLIPReIDHead",
        "MODEL.HEADS.TEST_NECK_FEAT": "before",
        "MODEL.LOSSES.CE.EPSILON": 0.1,
        "MODEL.LOSSES.TRI.MARGIN": 0.3,
        "MODEL.LOSSES.GLOBAL_WEIGHT": 1.0,
        "MODEL.LOSSES.LOCAL_WEIGHT": 1.0,
        "MODEL.PIXEL_MEAN": HALF,
        "MODEL.PIXEL_STD": HALF,
        "INPUT.SIZE_TRAIN": [256, 128],
        "SOLVER.OPT": "Adam",
        "SOLVER.BASE_LR": 5e-6,
        "SOLVER.BIAS_LR_FACTOR": 2.0,
        "SOLVER.WEIGHT_DECAY": 1e-4,
        "SOLVER.SCHED": "MultiStepLR",
        "SOLVER.STEPS": [30, 50],
        "SOLVER.WARMUP_FACTOR": 0.1,
        "SOLVER.MAX_EPOCH": 60,
        "SOLVER.IMS_PER_BATCH": 64,
    }


PERSON_CONFIGS: dict[str, dict[str, Any]] = {
    "personvit_vit_small": _ssl("small", "personvit_vits.pth"),
    "personvit_vit_base": _ssl("base", "personvit_vitb.pth"),
    "pass_vit_small": _pass("small"),
    "pass_vit_base": _pass("base"),
    "hap_vit_base": _hap("hap_vit_base.pth", (16, 8)),
    "hap_vit_base_lem": _hap("hap_vit_base.pth", (16, 8)) | LEM,
    "mae_vit_base": _hap("mae_pretrain_vit_base.pth", (14, 14)),
    "luperson_r50_mgn": LUPERSON_R50,
    "luperson_nl_r50_mgn": LUPERSON_R50 | LUPERSON_NL,
    "dinov2_vit_base": _dino("vit_base_patch14_reg4_dinov2.lvd142m", (37, 37), 14, [252, 126]),
    "dinov3_vit_base": _dino("vit_base_patch16_dinov3.lvd1689m", (), 16, [256, 128]),
    "solider_swin_tiny": _solider("tiny", 768, 8e-4),
    "solider_swin_small": _solider("small", 768, 2e-4),
    "solider_swin_base": _solider("base", 1024, 2e-4),
    "clip_reid_vit_base": _clip_reid(16, False),
    "clip_reid_vit_base_sie_stride": _clip_reid(12, True),
}
TRAINING_IMAGES = {"Market1501": 12936, "MSMT17": 30248, "OccludedDuke": 15618}
CAMERAS = {"Market1501": 6, "MSMT17": 15, "OccludedDuke": 8}
DIFFERENT: dict[tuple[str, str], dict[str, Any]] = {
    ("Market1501", "personvit_vit_base"): {"SOLVER.WARMUP_EPOCHS": 5},
}


def expected_values(dataset: str, name: str) -> dict[str, Any]:
    """Keys and values of a config."""
    ours: dict[str, Any] = {
        "DATASETS.NAMES": (dataset,),
        "DATASETS.TESTS": (dataset,),
        "OUTPUT_DIR": f"logs/{dataset}/{name}",
    }
    epochs = {"clip": 10, "hap": 5, "mae": 5, "luperson": 10}.get(name.partition("_")[0])
    if epochs:
        ours["SOLVER.WARMUP_ITERS"] = epochs * (TRAINING_IMAGES[dataset] // 64)
    if name.startswith("luperson"):
        ours["SOLVER.FREEZE_ITERS"] = ours["SOLVER.WARMUP_ITERS"]
    if name.endswith("sie_stride"):
        ours["MODEL.SIE.NUM_CAMERAS"] = CAMERAS[dataset]
    return PERSON_CONFIGS[name] | ours | DIFFERENT.get((dataset, name), {})
