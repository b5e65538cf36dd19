"""What the keys of a training of TransReID must fulfil together, before a model is built."""

from __future__ import annotations

from fastreid.config import CfgNode
from reid_core.config.declaration import Rule
from reid_core.run.compile_modes import wants_cuda_graphs

from .solver.layer_decay import no_layers

WITH_PARTS = ("JPMHead", "CLIPReIDHead", "LocalityHead")  # whose losses LOCAL_WEIGHT weights
RELEASED = ("TransReID", "TransReIDBicubic")  # pipelines that know INPUT.ON_DEVICE
SWIN_BUILDER = "build_swin_backbone"
BUILDER = "build_transreid_backbone"


def something_is_trained(cfg: CfgNode) -> str | None:
    """Not all losses may have the weight 0."""
    model = cfg.MODEL
    local = model.LOSSES.LOCAL_WEIGHT if model.HEADS.NAME in WITH_PARTS else 0
    if model.META_ARCHITECTURE != "TransReID" or model.LOSSES.GLOBAL_WEIGHT or local:
        return None
    return (
        f"MODEL.LOSSES.GLOBAL_WEIGHT is {model.LOSSES.GLOBAL_WEIGHT}, and no loss on parts is "
        "left: nothing would be trained; write a number above 0"
    )


def graphs_can_be_replayed(cfg: CfgNode) -> str | None:
    """A CUDA graph of a block cannot be recorded anew within the backward pass."""
    if not wants_cuda_graphs(cfg) or not cfg.MODEL.BACKBONE.GRADIENT_CHECKPOINTING:
        return None
    return (
        "MODEL.COMPILE_MODE is reduce-overhead, whose CUDA graphs cannot recompute blocks, but "
        "MODEL.BACKBONE.GRADIENT_CHECKPOINTING is True; set it False, or COMPILE_MODE default"
    )


def transform_knows_device(cfg: CfgNode) -> str | None:
    """Only the released pipeline finishes images on the device."""
    if not cfg.INPUT.ON_DEVICE or cfg.INPUT.TRANSFORM in RELEASED:
        return None
    return (
        f"INPUT.ON_DEVICE is True, which INPUT.TRANSFORM {cfg.INPUT.TRANSFORM} does not have; set "
        "it False, or INPUT.TRANSFORM TransReID"
    )


def layers_are_known(cfg: CfgNode) -> str | None:
    """A learning rate by depth needs to know the depth, and a schedule that keeps the ratios."""
    solver, backbone = cfg.SOLVER, cfg.MODEL.BACKBONE.NAME
    if solver.LAYER_DECAY == 1:
        return None
    if backbone not in (BUILDER, SWIN_BUILDER):
        return no_layers(solver.LAYER_DECAY, f"MODEL.BACKBONE.NAME {backbone}")
    if solver.SCHED != "CosineAnnealingLR" or not solver.ETA_MIN_LR:
        return None
    return (
        f"SOLVER.ETA_MIN_LR is {solver.ETA_MIN_LR}, at which all layers would end, with "
        f"SOLVER.LAYER_DECAY {solver.LAYER_DECAY}; set it to 0, or SOLVER.SCHED WarmupCosineLR"
    )


TRAINING_RULES = (
    Rule(("MODEL.LOSSES.GLOBAL_WEIGHT",), something_is_trained, training=True),
    Rule(("MODEL.BACKBONE.GRADIENT_CHECKPOINTING",), graphs_can_be_replayed, training=True),
    Rule(("INPUT.ON_DEVICE", "INPUT.TRANSFORM"), transform_knows_device, training=True),
    Rule(("SOLVER.LAYER_DECAY", "MODEL.BACKBONE.NAME"), layers_are_known, training=True),
)
