"""Five training steps of small models from fixed weights, and what they are known by.

``tests/golden/five_steps.npz`` holds them as they were before the step was made faster (3acb769);
``python tests/support/five_steps.py FILE`` wrote it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import reid_core  # noqa: F401  (first: repairs FastReID)
import torch
from dinopretrain import DINOTrainer
from dinopretrain.engine.step import DINOStep
from fastreid.engine.train_loop import SimpleTrainer
from fastreid.modeling.meta_arch import build_model
from fastreid.solver import build_optimizer
from fastreid.utils.events import EventStorage
from reid_core.config import load_config
from torch import nn

STEPS, BATCH = 5, 8
SMALL = {
    "MODEL.DEVICE": "cpu",
    "MODEL.META_ARCHITECTURE": "TransReID",
    "MODEL.BACKBONE.NAME": "build_transreid_backbone",
    "MODEL.BACKBONE.TIMM_NAME": "vit_tiny_patch16_224",
    "MODEL.BACKBONE.NUM_BLOCKS": 2,
    "MODEL.BACKBONE.FEAT_DIM": 192,
    "MODEL.BACKBONE.PRETRAIN": False,
    "MODEL.BACKBONE.DROP_PATH_RATIO": 0.0,
    "MODEL.BACKBONE.STRIDE_SIZE": [12, 12],
    "MODEL.HEADS.NUM_CLASSES": 5,
    "MODEL.LOSSES.NAME": ("CrossEntropyLoss", "TripletLoss"),
    "MODEL.LOSSES.TRI.HARD_MINING": True,
    "MODEL.LOSSES.TRI.MARGIN": 0.0,
    "INPUT.SIZE_TRAIN": [64, 32],
    "INPUT.SIZE_TEST": [64, 32],
    "SOLVER.OPT": "SGD",
    "SOLVER.BASE_LR": 2e-5,
    "SOLVER.BIAS_LR_FACTOR": 2.0,
}
JPM = {"MODEL.HEADS.NAME": "JPMHead"}
SIE = {"MODEL.SIE.CAMERA": True, "MODEL.SIE.NUM_CAMERAS": 3}
CASES: dict[str, dict[str, Any]] = {
    "baseline": {"MODEL.HEADS.NAME": "BNNeckHead"},
    "jpm": {**JPM, "MODEL.LOSSES.CE.EPSILON": 0.1},
    "jpm_sie": {
        **JPM,
        **SIE,
        "MODEL.LOSSES.CE.EPSILON": 0.0,
        "MODEL.LOSSES.TRI.MARGIN": 0.3,
        "MODEL.LOSSES.TRI.HARD_MINING": False,
        "MODEL.LOSSES.TRI.NORM_FEAT": True,
        "SOLVER.CLIP_GRADIENTS.ENABLED": True,
        "SOLVER.CLIP_GRADIENTS.CLIP_VALUE": 0.05,
    },
    "jpm_margins": {
        **JPM,
        "MODEL.HEADS.NECK_FEAT": "after",
        "MODEL.HEADS.CLS_LAYER": "CosSoftmax",
        "MODEL.HEADS.SCALE": 16,
        "MODEL.HEADS.MARGIN": 0.2,
        "MODEL.LOSSES.NAME": ("CrossEntropyLoss", "CircleLoss", "Cosface"),
        "SOLVER.BASE_LR": 2e-5,
    },
    "jpm_adaptive": {
        **JPM,
        "MODEL.HEADS.CLS_LAYER": "ArcSoftmax",
        "MODEL.HEADS.SCALE": 16,
        "MODEL.HEADS.MARGIN": 0.2,
        "MODEL.LOSSES.CE.EPSILON": -1.0,
    },
    "fastreids_head": {
        "MODEL.HEADS.NAME": "EmbeddingHead",
        "MODEL.HEADS.CLS_LAYER": "CircleSoftmax",
        "MODEL.HEADS.SCALE": 16,
        "MODEL.HEADS.MARGIN": 0.2,
    },
}
DINO = {
    "MODEL.META_ARCHITECTURE": "DINO",
    "INPUT.SIZE_TRAIN": [32, 16],
    "INPUT.SIZE_TEST": [32, 16],
    "MODEL.BACKBONE.STRIDE_SIZE": [8, 8],
    "DINO.LOCAL_SIZE": [16, 16],
    "DINO.LOCAL_VIEWS": 2,
    "DINO.OUT_DIM": 32,
    "DINO.HIDDEN_DIM": 32,
    "DINO.BOTTLENECK_DIM": 16,
    "DINO.KOLEO_WEIGHT": 0.1,
    "DINO.CLIP_GRADIENT": 0.3,
}


def small_config(keys: dict[str, Any]) -> Any:
    """The small config with ``keys``."""
    pairs = {**SMALL, **keys}
    return load_config(options=[item for pair in pairs.items() for item in pair])


def fill(model: nn.Module) -> nn.Module:
    """The model with weights that do not depend on torch's generators.

    Features of different images are far apart: FastReID takes distances from |x|^2 + |y|^2 - 2xy.
    """
    rng = np.random.default_rng(0)
    for name, parameter in model.named_parameters():
        scale = 0.01 if name.endswith(("cls_token", "pos_embed")) else 0.05
        noise = scale * rng.standard_normal(parameter.shape).astype(np.float32)
        with torch.no_grad():
            parameter.copy_(torch.from_numpy(noise) + float(parameter.ndim == 1))
    return model


def batches() -> Iterator[dict[str, Any]]:
    """Batches of coarse noise, one after the other."""
    rng = np.random.default_rng(1)
    while True:
        coarse = rng.uniform(0, 255, (BATCH, 3, 4, 2)).astype(np.float32)
        pixels = coarse.repeat(16, axis=2).repeat(16, axis=3)
        yield {
            "images": torch.from_numpy(pixels),
            "targets": torch.arange(BATCH) // 2,
            "camids": torch.arange(BATCH) % 3,
        }


def views() -> Iterator[dict[str, Any]]:
    """Batches of views of noise, one after the other."""
    rng = np.random.default_rng(1)
    while True:
        yield {
            "global_views": torch.from_numpy(rng.integers(0, 256, (4, 2, 32, 16, 3), np.uint8)),
            "local_views": torch.from_numpy(rng.integers(0, 256, (4, 2, 16, 16, 3), np.uint8)),
        }


def marks(model: nn.Module) -> dict[str, np.ndarray]:
    """Of each weight and gradient: norm, product with a unit vector of ones, first element."""
    state = {k: v for k, v in model.state_dict().items() if not k.endswith(".trained_rows")}
    values = {f"weight {name}": value for name, value in state.items()}
    gradients = {f"grad {n}": p.grad for n, p in model.named_parameters() if p.grad is not None}
    return {
        name: np.array([float(v.norm()), float(v.sum()) / v.numel() ** 0.5, float(v.flatten()[0])])
        for name, value in {**values, **gradients}.items()
        for v in [value.double()]
        if value.numel()
    }


def _histories(storage: EventStorage) -> dict[str, np.ndarray]:
    clocks = ("data_time", "images_per_second")
    return {
        f"metric {name}": np.array([value for value, _ in history.values()])
        for name, history in storage.histories().items()
        if name not in clocks
    }


def supervised(keys: dict[str, Any]) -> dict[str, np.ndarray]:
    """Metrics of five steps, and the marks of weights and gradients after them."""
    cfg = small_config(keys)
    model = fill(build_model(cfg))
    trainer = SimpleTrainer(model, batches(), *build_optimizer(cfg, model))
    with EventStorage(0) as storage:
        for trainer.iter in range(STEPS):
            storage.iter = trainer.iter
            trainer.run_step()
        return {**_histories(storage), **marks(model)}


def dino() -> dict[str, np.ndarray]:
    """The same of DINO."""
    cfg = small_config(DINO)
    model = build_model(cfg).train()
    fill(model.student)
    model.teacher.load_state_dict(model.student.state_dict())
    optimizer, _ = DINOTrainer.build_optimizer(cfg, model)
    for group in optimizer.param_groups:
        group["lr"] = 1e-3
    simple: Any = SimpleNamespace(
        model=model, optimizer=optimizer, data_loader=None, _data_loader_iter=views()
    )
    step = DINOStep(simple, dtype=None, clip=cfg.DINO.CLIP_GRADIENT, micro_batch=3)
    with EventStorage(0) as storage:
        for step.iter in range(STEPS):
            storage.iter = step.iter
            step.run_step()
            model.update_teacher(0.9)
        return {**_histories(storage), **marks(model)}


def all_cases() -> dict[str, dict[str, np.ndarray]]:
    """By case, then by what it is."""
    return {**{name: supervised(keys) for name, keys in CASES.items()}, "dino": dino()}


if __name__ == "__main__":
    found = all_cases()
    rows = {f"{case}/{n}": v for case, values in found.items() for n, v in values.items()}
    print({key: value for key, value in rows.items() if "metric" in key})
    text = "\n".join(rows)
    flat = np.concatenate([value.ravel() for value in rows.values()])
    sizes = np.array([value.size for value in rows.values()])
    np.savez_compressed(sys.argv[1], names=np.array(text), values=flat, sizes=sizes)
