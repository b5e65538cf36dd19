"""Models, batches and training steps that several benchmarks measure; all weights are random."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from dinopretrain import DINO
from dinopretrain.engine.step import DINOStep, PretrainStep
from dinopretrain.modeling.method import Place
from dinopretrain.solver.parameter_groups import parameter_groups
from dinopretrain.transforms.views import MultiCrop
from fastreid.config import CfgNode
from fastreid.modeling import build_model
from fastreid.utils.events import EventStorage, get_event_storage
from reid_core.config import find_config, load_config
from torch import Tensor

NUM_CAMERAS = 6
SIZE = (256, 128)  # H, W
MODEL = {"models": "model"}  # for each model a table's rows

# Name -> timm's, embed_dim
VITS = {"ViT-S/16": ("vit_small_patch16_224", 384), "ViT-B/16": ("vit_base_patch16_224", 768)}
VIT_CONFIG = "projects/TransReID/configs/Base-TransReID.yml"
JPM_AND_SIE = {
    "MODEL.HEADS.NAME": "JPMHead",
    "MODEL.HEADS.NUM_CLASSES": 751,
    "MODEL.SIE.CAMERA": True,
    "MODEL.SIE.NUM_CAMERAS": NUM_CAMERAS,
}
DINO_CONFIGS = {
    "ViT-S/16": "projects/DINOPretrain/configs/LUPerson/vit_small.yml",
    "ViT-B/16": "projects/DINOPretrain/configs/LUPerson/vit_base.yml",
}
MOMENTUM = 0.996  # of DINO's teacher


def vit_config(
    name: str, size: Sequence[int], stride: int = 16, more: Mapping[str, Any] | None = None
) -> CfgNode:
    """Config of one of :data:`VITS` with images of (H, W) pixels, without drop path (noise)."""
    return load_config(find_config(VIT_CONFIG), vit_options(name, size, stride, more))


def vit_options(
    name: str, size: Sequence[int], stride: int = 16, more: Mapping[str, Any] | None = None
) -> list[Any]:
    """KEY VALUE pairs behind VIT_CONFIG, see :func:`vit_config`."""
    timm_name, width = VITS[name]
    keys = {
        "MODEL.BACKBONE.TIMM_NAME": timm_name,
        "MODEL.BACKBONE.FEAT_DIM": width,
        "MODEL.BACKBONE.STRIDE_SIZE": [stride, stride],
        "MODEL.BACKBONE.DROP_PATH_RATIO": 0.0,
        "MODEL.BACKBONE.PRETRAIN": False,
        "INPUT.SIZE_TRAIN": [*size],
        "INPUT.SIZE_TEST": [*size],
        **(more or {}),
    }
    return [word for pair in keys.items() for word in pair]


def dino_on_noise(
    config: str, count: int, options: Sequence[Any] = ()
) -> tuple[CfgNode, DINO, dict[str, Any]]:
    """Config, model on the CPU, and a batch of ``count`` images' random views, uint8."""
    torch.manual_seed(0)
    cfg = load_config(find_config(config), ["MODEL.DEVICE", "cpu", *options])

    def noise(number: int, size: list[int]) -> Tensor:
        return torch.randint(0, 256, (count, number, *size, 3), dtype=torch.uint8)

    batch = {
        "global_views": noise(2, cfg.INPUT.SIZE_TRAIN),
        "local_views": noise(cfg.DINO.LOCAL_VIEWS, cfg.DINO.LOCAL_SIZE),
    }
    return cfg, build_model(cfg).train(), batch


def method_on_noise(
    config: str, count: int, options: Sequence[Any] = ()
) -> tuple[CfgNode, Any, dict[str, Any]]:
    """As :func:`dino_on_noise` of any method, with the masks of masked image modelling."""
    cfg, model, batch = dino_on_noise(config, count, options)
    transform = MultiCrop(cfg)
    if transform.masks is not None:
        random.seed(0)
        masks = [transform.masks() for _ in range(transform.num_global * count)]
        batch["masks"] = torch.from_numpy(np.stack(masks)).unflatten(0, (count, -1))
    return cfg, model, batch


def method_step(
    cfg: CfgNode, model: Any, batch: dict[str, Any], dtype: torch.dtype | None = None
) -> Callable[[], float]:
    """A step of any method as its trainer makes it, in the middle of a run; returns the loss."""
    optimizer = model.build_optimizer(cfg)
    parts = {"model": model, "optimizer": optimizer, "data_loader": None}
    trainer = SimpleNamespace(**parts, _data_loader_iter=itertools.repeat(batch))
    step = PretrainStep(trainer, dtype=dtype, clip=model.clip_norm(cfg))
    settings = model.schedule(
        cfg, Place(50 * cfg.SOLVER.MAX_EPOCH, 100 * cfg.SOLVER.MAX_EPOCH, 100)
    )
    model.momentum = settings.momentum
    for group in optimizer.param_groups:
        group["lr"] = 1e-5  # so that many steps on one batch stay finite

    def run() -> float:
        step.run_step()
        model.after_step(torch.tensor(True))
        return get_event_storage().latest()["total_loss"][0]

    return in_storage(run)


def adamw(model: DINO) -> torch.optim.Optimizer:
    """The optimizer of DINO's student."""
    return torch.optim.AdamW(parameter_groups(model.student, 0.04), lr=1e-5)


def dino_trainer(
    cfg: CfgNode,
    model: DINO,
    batch: dict[str, Any],
    dtype: torch.dtype | None = None,
    micro_batch: int = 0,
) -> DINOStep:
    """What runs the steps of DINOTrainer, with one batch again and again.

    The arguments are those of :class:`DINOStep`: type of autocast, images of one forward pass.
    """
    parts = {"model": model, "optimizer": adamw(model), "data_loader": None}
    trainer = SimpleNamespace(**parts, _data_loader_iter=itertools.repeat(batch))
    return DINOStep(trainer, dtype=dtype, clip=cfg.DINO.CLIP_GRADIENT, micro_batch=micro_batch)


def dino_step(
    cfg: CfgNode,
    model: DINO,
    batch: dict[str, Any],
    dtype: torch.dtype | None = None,
    micro_batch: int = 0,
) -> Callable[[], float]:
    """A step as DINOTrainer makes it, see :func:`dino_trainer`; it returns the loss before it."""
    step = dino_trainer(cfg, model, batch, dtype, micro_batch)

    def run() -> float:
        step.run_step()
        model.update_teacher(MOMENTUM, step.finite)
        return get_event_storage().latest()["total_loss"][0]

    return in_storage(run)


def in_storage(step: Callable[[], float]) -> Callable[[], float]:
    """The step within FastReID's storage of events, which models write to."""

    def run() -> float:
        with EventStorage(0):
            return step()

    return run
