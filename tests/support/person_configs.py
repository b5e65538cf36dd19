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


def _masked(file: str, grid: tuple[int, ...]) -> dict[str, Any]:
    """TransReID-SSL's recipe with ImageNet's pixels."""
    pixels = {"MODEL.PIXEL_MEAN": IMAGENET_MEAN, "MODEL.PIXEL_STD": [58.395, 57.12, 57.375]}
    return _ssl("base", file) | pixels | {"MODEL.BACKBONE.PRETRAIN_GRID": grid}


def _dino(name: str, grid: tuple[int, ...], patch: int, size: list[int]) -> dict[str, Any]:
    """TransReID-SSL's recipe on timm's weights."""
    return _masked("", grid) | {
        "MODEL.BACKBONE.TIMM_NAME": name,
        "MODEL.BACKBONE.PRETRAIN_PATH": "",
        "MODEL.BACKBONE.STRIDE_SIZE": (patch, patch),
        "INPUT.SIZE_TRAIN": size,
        "INPUT.SIZE_TEST": size,
    }


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
    "MODEL.META_ARCHITECTURE": "MGN",
    "MODEL.BACKBONE.PRETRAIN_PATH": "weights/lupws_r50.pth",
    "MODEL.PIXEL_MEAN": [89.896, 79.200, 80.073],
    "MODEL.PIXEL_STD": [63.872, 64.305, 63.839],
    "INPUT.SIZE_TRAIN": [384, 128],
    "SOLVER.OPT": "Adam",
    "SOLVER.BASE_LR": 3.5e-4,
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
    "hap_vit_base": _masked("hap_vit_base.pth", (16, 8)),
    "mae_vit_base": _masked("mae_pretrain_vit_base.pth", (14, 14)),
    "luperson_r50_mgn": LUPERSON_R50,
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
    if name.startswith("clip_reid"):
        ours["SOLVER.WARMUP_ITERS"] = 10 * (TRAINING_IMAGES[dataset] // 64)
    if name.endswith("sie_stride"):
        ours["MODEL.SIE.NUM_CAMERAS"] = CAMERAS[dataset]
    return PERSON_CONFIGS[name] | ours | DIFFERENT.get((dataset, name), {})
