"""Floating-point operations of a stage, and how many this machine does a second.

Operations are those of the backbones, and of DINO's head (those of contrastive methods are small),
counted by PyTorch on one image without memory or arithmetic (device meta); a training step counts
three forward passes, as the backward pass has two products for each of the forward's. What an image
costs to read, the losses and the optimizer are not counted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from dinopretrain.methods import is_contrastive, is_pretraining
from dinopretrain.modeling.head import DINOHead
from fastreid.config import CfgNode
from fastreid.modeling.backbones import build_backbone
from fastreid_compat.repairs.config.settings import resolve_device
from torch import nn
from torch.utils.benchmark import Timer
from torch.utils.flop_counter import FlopCounterMode

GLOBAL_VIEWS = 2
FORWARD_AND_BACKWARD = 3
MEASURED_SECONDS = 1.0


def training_operations(cfg: CfgNode) -> float:
    """Operations of one training step for one image."""
    one = forward_operations(cfg, *cfg.INPUT.SIZE_TRAIN)
    if not is_pretraining(cfg):
        return FORWARD_AND_BACKWARD * one
    if is_contrastive(cfg):  # one query and one key of each view, of MoCo v2 of one view
        queries = 1 if cfg.MODEL.META_ARCHITECTURE == "MoCoV2" else GLOBAL_VIEWS
        return queries * (1 + FORWARD_AND_BACKWARD) * one
    local_views = cfg.DINO.LOCAL_VIEWS
    local = forward_operations(cfg, *cfg.DINO.LOCAL_SIZE) if local_views else 0.0
    head = _head_operations(cfg)
    teacher = GLOBAL_VIEWS * (one + head)
    return teacher + FORWARD_AND_BACKWARD * (teacher + local_views * (local + head))


def forward_operations(cfg: CfgNode, height: int, width: int) -> float:
    """Operations of a backbone's forward pass on one image of ``height`` x ``width`` pixels."""
    with torch.device("meta"):
        backbone = random_backbone(cfg).eval()
        images = torch.empty(1, 3, height, width)
        return _counted(lambda: backbone(images))


def _head_operations(cfg: CfgNode) -> float:
    options = cfg.DINO
    with torch.device("meta"):
        width = cfg.MODEL.BACKBONE.FEAT_DIM
        sizes = (options.OUT_DIM, options.HIDDEN_DIM, options.BOTTLENECK_DIM)
        head = DINOHead(width, *sizes, options.NORM_LAST_LAYER).eval()
        features = torch.empty(1, width)
        return _counted(lambda: head(features))


def _counted(function: Callable[[], Any]) -> float:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        function()
    return float(counter.get_total_flops())


def random_backbone(cfg: CfgNode) -> nn.Module:
    """A backbone with random weights that takes images of any size, and knows no cameras."""
    cfg = cfg.clone()
    cfg.MODEL.BACKBONE.PRETRAIN = False
    cfg.MODEL.SIE.CAMERA = cfg.MODEL.SIE.VIEW = False
    backbone = build_backbone(cfg)
    vars(backbone)["any_size"] = True
    return backbone


def measured_speed(
    cfg: CfgNode, training: bool, dtype: torch.dtype | None, known: dict[str, float]
) -> float:
    """Operations a second of a backbone on this machine, in training or in forward passes alone.

    ``dtype`` is that of autocast; each is measured once and kept in ``known``.
    """
    device = resolve_device(cfg)
    key = repr((cfg.MODEL.BACKBONE, [*cfg.INPUT.SIZE_TRAIN], training, dtype, device))
    if key not in known:
        with torch.random.fork_rng():
            known[key] = _measured(cfg, device, training, dtype)
    return known[key]


def _measured(cfg: CfgNode, device: str, training: bool, dtype: torch.dtype | None) -> float:
    height, width = cfg.INPUT.SIZE_TRAIN
    batch = min(cfg.SOLVER.IMS_PER_BATCH, 64 if device.startswith("cuda") else 4)
    backbone = random_backbone(cfg).to(device).train(training)
    images = torch.randn(batch, 3, height, width, device=device)
    operations = batch * forward_operations(cfg, height, width)
    kind = device.partition(":")[0]

    def forward() -> torch.Tensor:
        with torch.autocast(kind, dtype, enabled=dtype is not None):
            return backbone(images).float().square().mean()

    def step() -> None:
        backbone.zero_grad()
        forward().backward()

    # The fastest of the calls that fit a second, after one that warms up
    function, factor = (step, FORWARD_AND_BACKWARD) if training else (forward, 1)
    timer = Timer("function()", globals={"function": function}, num_threads=torch.get_num_threads())
    with torch.set_grad_enabled(training):
        seconds = min(timer.blocked_autorange(min_run_time=MEASURED_SECONDS).times)
    return factor * operations / seconds
