"""Learning rates that fall with the depth below the head: SOLVER.LAYER_DECAY.

Layer 0 is what makes tokens of an image, layers 1..N are the N blocks, layer N + 1 is all that
follows them. A parameter of layer l gets the rate it would have anyway, times decay^(N + 1 - l).

Sources: Bao et al., "BEiT", ICLR 2022, He et al., "Masked Autoencoders", CVPR 2022, and HAP for
ViTs; Xie et al., "SimMIM", CVPR 2022, for Swin, whose patch merging belongs to the block before it.
Side information has no pre-trained weights, and the rate of a head.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import accumulate
from typing import Any

from fastreid.config import CfgNode
from fastreid.solver import build
from fastreid_compat.registry import Original, fix, replaces
from reid_common.errors import UserError
from torch import nn

from ..modeling.backbone import TransReIDBackbone

# Parts of a ViT below its blocks
TOKENS = ("patch_embed", "pos_embed", "cls_token", "reg_token", "masked_embed", "norm_pre", "rope")
BLOCK = re.compile(r"backbone\.blocks\.(\d+)\.")
BRANCH = re.compile(r"heads\.(global|local)_branch\.block\.")  # of JPM, copies of the last block
STAGE = re.compile(r"backbone\.stages\.(\d+)\.(?:blocks\.(\d+)|downsample)\.")
Layers = tuple[Callable[[str], int], int]  # layer of a parameter's name, N + 1


def _layers_of_vit(backbone: Any, names: list[str]) -> Layers:
    top = len(backbone.blocks) + any(BRANCH.match(name) for name in names) + 1

    def layer(name: str) -> int:
        if match := BLOCK.match(name):
            return int(match[1]) + 1
        if BRANCH.match(name):
            return top - 1
        return 0 if name.startswith(tuple(f"backbone.{part}" for part in TOKENS)) else top

    return layer, top


def _layers_of_swin(backbone: Any) -> Layers:
    before = [0, *accumulate(len(stage.blocks) for stage in backbone.stages)]

    def layer(name: str) -> int:
        if match := STAGE.match(name):
            stage, block = int(match[1]), match[2]
            return before[stage + 1] if block is None else before[stage] + int(block) + 1
        return 0 if name.startswith("backbone.patch_embed") else before[-1] + 1

    return layer, before[-1] + 1


def layer_scales(model: nn.Module, decay: float) -> dict[nn.Parameter, float]:
    """The factor decay^(N + 1 - l) of each parameter's learning rate.

    Args:
        model: with a ViT or Swin of this project as ``backbone``.
        decay: in (0, 1].

    Raises:
        UserError: another backbone.
    """
    from ..modeling.swin import SwinBackbone  # late: timm takes seconds

    backbone: Any = getattr(model, "backbone", None)
    names = [name for name, _ in model.named_parameters()]
    if isinstance(backbone, TransReIDBackbone):
        layer, top = _layers_of_vit(backbone, names)
    elif isinstance(backbone, SwinBackbone):
        layer, top = _layers_of_swin(backbone)
    else:
        raise UserError(no_layers(decay, type(backbone).__name__))
    return {param: decay ** (top - layer(name)) for name, param in model.named_parameters()}


def no_layers(decay: float, backbone: str) -> str:
    """Say that a backbone's layers are unknown."""
    return (
        f"SOLVER.LAYER_DECAY is {decay}, but the layers of {backbone} are not known: it works with "
        "MODEL.BACKBONE.NAME build_transreid_backbone and build_swin_backbone; set it to 1.0"
    )


@contextmanager
def _scaled_rates(scales: dict[nn.Parameter, float]) -> Iterator[None]:
    """Let FastReID find, while it makes an optimizer, learning rates times ``scales``.

    The largest rates come first, so that FastReID's log shows SOLVER.BASE_LR.
    """
    original = build.get_default_optimizer_params

    def scaled(*args: Any, **kwargs: Any) -> list[dict[str, Any]]:
        items = original(*args, **kwargs)
        for item in items:
            item["lr"] *= scales[item["params"][0]]
        return sorted(items, key=lambda item: -scales[item["params"][0]])

    build.get_default_optimizer_params = scaled
    try:
        yield
    finally:
        build.get_default_optimizer_params = original


@fix(
    where="solver/build.py:182",
    symptom="no learning rate by depth, without which masked pre-training fine-tunes badly",
)
@replaces(build, "build_optimizer")
def layer_decay(original: Original, cfg: CfgNode, model: nn.Module, contiguous: bool = True) -> Any:
    """Give each layer its learning rate where SOLVER.LAYER_DECAY asks for it.

    Parameters of equal rate and decay are one group, as without it.
    """
    decay = cfg.SOLVER.get("LAYER_DECAY", 1.0)
    if decay == 1:
        return original(cfg, model, contiguous)
    with _scaled_rates(layer_scales(model, decay)):
        return original(cfg, model, contiguous)
