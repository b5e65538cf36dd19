"""SOLIDER's Swin: names of mmdetection into ours, for first weights and for whole ReID models.

Source: Chen et al., "SOLIDER", CVPR 2023, released code and state dicts.
"""

from __future__ import annotations

import re
from typing import Any

import torch
from fastreid_compat.repairs.checkpoints.backbone_weights import load_backbone
from fastreid_compat.repairs.checkpoints.checkpoint_files import read_file, unwrapped
from fastreid_compat.repairs.checkpoints.checkpoints import WEIGHT_ADAPTERS, check_backbone
from fastreid_compat.repairs.checkpoints.load_report import LoadReport
from reid_common.errors import UserError
from torch import Tensor, nn

from ..modeling.swin import SwinBackbone
from .reading import HALF, Reading, check_pixels
from .released import State

PARTS = {
    "patch_embed.projection.": "patch_embed.proj.",
    ".attn.w_msa.": ".attn.",
    ".ffn.layers.0.0.": ".mlp.fc1.",
    ".ffn.layers.1.": ".mlp.fc2.",
}
DEAD = re.compile(r"(^|\.)(norm[0-2]\.|semantic_embed_[wb]\.3\.|fc\.)")  # which no feature reads
MERGED = re.compile(r"\.downsample\.(norm|reduction)\.")


def from_solider(state: dict[str, Any]) -> State | None:
    """Translate names and the order of merged patches, behind any prefix; None for another file.

    Raises:
        UserError: positions in windows that are numbered in another way.
    """
    if not any("stages.0.blocks.0.attn.w_msa.qkv.weight" in str(key) for key in state):
        return None
    found: State = {}
    for key, value in state.items():
        if not isinstance(value, Tensor):
            continue
        key = str(key).removeprefix("module.")
        if key.endswith("relative_position_index"):
            _check_index(value)
            continue
        tail = re.sub(r"^(base|backbone)\.", "", key)
        if DEAD.match(tail):
            continue
        for theirs, ours in PARTS.items():
            key = key.replace(theirs, ours)
        key = re.sub(r"(^|\.)norm3\.", r"\1norm.", key)
        found[key] = _merged(value) if MERGED.search(key) else value
    return found


def _merged(value: Tensor) -> Tensor:
    """Entries (..., 4C) by channel, offsets in it, as unfolded, into ours, by offset."""
    offsets = value.unflatten(-1, (-1, 4))[..., [0, 2, 1, 3]]
    return offsets.transpose(-1, -2).flatten(-2).contiguous()


def _check_index(index: Tensor) -> None:
    from timm.models.swin_transformer import get_relative_position_index

    if not torch.equal(index.long().flatten(), get_relative_position_index(7, 7).flatten()):
        raise UserError("this Swin numbers the positions in its windows of 7 x 7 in another way")


def load_swin(backbone: SwinBackbone, path: str) -> LoadReport:
    """Load first weights: SOLIDER's, with or without ``backbone.``, or our own.

    Raises:
        UserError: no such file, or of another network.
    """
    state = unwrapped(read_file(path), path)["model"]
    return load_backbone(backbone, from_solider(state) or state, path)


def adapt_swin(model: nn.Module, state: dict[str, Any], path: str) -> State | None:
    """A whole model of SOLIDER-REID for FastReID's Checkpointer; None for any other."""
    if not isinstance(getattr(model, "backbone", None), SwinBackbone):
        return None
    translated = from_solider(state)
    if translated is None:
        return None
    renamed = {"base.": "backbone.", "bottleneck.": "heads.neck.bottleneck."}
    renamed["classifier."] = "heads.neck.classifier."
    whole = {}
    for key, value in translated.items():
        for theirs, ours in renamed.items():
            key = ours + key.removeprefix(theirs) if key.startswith(theirs) else key
        whole[key] = value
    if not any(key.startswith("heads.") for key in whole):
        raise UserError(
            f"{path!r} is SOLIDER's pre-trained backbone, no ReID model: give it to "
            "MODEL.BACKBONE.PRETRAIN_PATH and train, or take a model of SOLIDER-REID"
        )
    check_backbone(model, whole, path)
    check_pixels(Reading(pixels=HALF), model, repr(path))
    return whole


WEIGHT_ADAPTERS.append(adapt_swin)
