"""Weights of any known origin, recognised by their keys and brought under our names.

Known are our own checkpoints, released TransReID and TransReID-SSL models (``base.``), DINO
and iBOT checkpoints ({"student", "teacher", ...}, of which the teacher is taken) and their bare
backbones, MoCo v2, MoCo v3 and MoBY (of which the online encoder is taken), CLIP's image tower and
CLIP-ReID, PASS, HAP, DINOv2, DINOv3, timm and DeiT; each with or without the ``module.`` of
DataParallel, bare or under "model", "state_dict" or "teacher"; and a ViT behind any other prefix.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fastreid.config import CfgNode
from fastreid_compat.repairs.checkpoints.backbone_weights import first_choice
from fastreid_compat.repairs.checkpoints.checkpoint_files import read_file, unwrapped
from reid_common.errors import UserError
from reid_common.self_supervised import online_backbone
from torch import Tensor

from .clip import from_clip
from .dinov3 import from_dinov3
from .hap import from_hap
from .identities import classes_in
from .part_tokens import with_prefix_tokens
from .reading import HALF, IMAGENET, Reading
from .released import State, count_blocks, from_released

BACKBONE = "backbone."
SIE = BACKBONE + "sie."
GLOBAL_BRANCH = "heads.global_branch."
LOCAL_BRANCH = "heads.local_branch."
BRANCHES = (GLOBAL_BRANCH, LOCAL_BRANCH)
# Parts of a pretrained model that a ReID backbone does not have.
HEADS = ("head.", "head_dist.", "head_drop.", "fc.", "fc_norm.", "pre_logits.")
DECODERS = ("decoder_", "mask_token", "masked_embed")  # of masked image modelling
IGNORED = (*HEADS, *DECODERS, "dist_token", "num_heads")
# Parameters of DINOv2's own files under timm's names.
DINOV2 = {"register_tokens": "reg_token", ".mlp.w12.": ".mlp.fc1.", ".mlp.w3.": ".mlp.fc2."}


@dataclass(frozen=True)
class Weights:
    """Weights in our names."""

    state: State  # keys ``backbone.*`` and, for whole models, ``heads.*``
    kind: str  # what they were recognised as, for messages
    source: str  # the file, or timm's name of the model
    reading: Reading = field(default_factory=Reading)  # what shapes do not show

    @property
    def num_classes(self) -> int:
        """Classes of the (global) classifier, 0 if there is none."""
        return classes_in(self.state)


def read_weights(path: str) -> Weights:
    """Read a checkpoint file of any known format; nothing but plain data is unpickled.

    Raises:
        UserError: no such file, unreadable, or nothing in it that could be a ViT.
    """
    return recognise(unwrapped(read_file(path), path)["model"], path)


def recognise(state: Mapping[str, Any], source: str) -> Weights:
    """Bring a state dict under our names.

    Raises:
        UserError: it holds no ViT.
    """
    weights = _recognised(state, source)
    tensors, count = with_prefix_tokens(weights.state)
    if not count:
        return weights
    whole = any(key.startswith("heads.") for key in tensors)
    pixels = HALF if whole else None
    kind = "released PASS model" if whole else f"PASS, {weights.kind}"
    return Weights(tensors, kind, source, Reading(eps=1e-6, part_tokens=count, pixels=pixels))


def _recognised(state: Mapping[str, Any], source: str) -> Weights:
    state = {str(k).removeprefix("module."): v for k, v in state.items() if isinstance(v, Tensor)}
    online = online_backbone(state)
    if online is not None and "cls_token" in online.state:
        heads = Reading(num_heads=online.num_heads)
        return Weights(_backbone(online.state), online.method, source, heads)
    if (clip := from_clip(state)) is not None:
        return Weights(clip.state, clip.kind, source, clip.reading)
    if "teacher.backbone.cls_token" in state:  # a checkpoint of our DINOPretrain project
        teacher = {k: v for k, v in state.items() if k.startswith("teacher.")}
        state = {key.removeprefix("teacher."): value for key, value in teacher.items()}
    if "base.cls_token" in state:
        stem = " with ICS stem" if "base.patch_embed.conv.0.weight" in state else ""
        head = "JPM" if any(key.startswith("b1.") for key in state) else "without JPM"
        reading = Reading(sie_tokens="all")
        return Weights(from_released(state), f"released TransReID ({head}){stem}", source, reading)
    if "backbone.cls_token" in state:
        if any(key.startswith("heads.") for key in state):
            return Weights(dict(state), "our checkpoint", source)
        kept = {k.removeprefix(BACKBONE): v for k, v in state.items() if k.startswith(BACKBONE)}
        return Weights(_backbone(kept), "DINO or iBOT checkpoint", source)
    if (hap := from_hap(state)) is not None:
        whole = Reading(eps=1e-6, pixels=IMAGENET)
        return Weights(hap, "HAP fine-tuned with lem", source, whole)
    if (dinov3 := from_dinov3(state)) is not None:
        return Weights(_backbone(dinov3), "DINOv3", source, Reading(eps=1e-5))
    if "cls_token" in state and "patch_embed.proj.weight" in state:
        heads = Reading(num_heads=int(state.get("num_heads", 0)))
        masked = any(key.startswith("decoder_") for key in state)
        kind = "MAE or HAP checkpoint" if masked else "backbone (timm, DeiT, DINO)"
        return Weights(_backbone(state), kind, source, heads)
    stem = "patch_embed.proj.weight"
    prefixes = [key.removesuffix(stem) for key in state if key.endswith(stem)]
    if prefixes := [prefix for prefix in prefixes if f"{prefix}cls_token" in state]:
        prefix = first_choice(prefixes)  # of MoCo, BYOL and others: base_encoder., online., ...
        kept = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        return Weights(_backbone(kept), f"backbone behind {prefix!r}", source)
    raise UserError(
        f"{source!r} holds no ViT: no cls_token, bare or behind backbone. or base.; its first keys "
        f"are {', '.join(list(state)[:5]) or 'none'}"
    )


def _backbone(state: Mapping[str, Tensor]) -> State:
    """A bare ViT's weights with ``backbone.`` in front, classifiers and the like left out."""
    kept = {key: value for key, value in state.items() if not key.startswith(IGNORED)}
    if "register_tokens" in kept:
        # timm's models with registers add the position embedding of [cls] once and for all.
        pos_embed = kept["pos_embed"]
        kept["cls_token"] = kept["cls_token"] + pos_embed[:, :1]
        kept["pos_embed"] = pos_embed[:, 1:]
    for theirs, ours in DINOV2.items():
        kept = {key.replace(theirs, ours): value for key, value in kept.items()}
    return {BACKBONE + key: value for key, value in kept.items()}


def stored_side_information(state: Mapping[str, Tensor]) -> State:
    """SIE tensors of weights in our names: sie_embed, camera_table; {} where there are none."""
    return {key.removeprefix(SIE): state[key] for key in state if key.startswith(SIE)}


def side_information_of_weights(cfg: CfgNode) -> State:
    """SIE tensors of MODEL.WEIGHTS, for an evaluation; {} for a config without SIE or weights.

    Raises:
        UserError: MODEL.WEIGHTS does not exist or is no checkpoint.
    """
    path, sie = cfg.MODEL.WEIGHTS, cfg.MODEL.SIE
    if not path or not (sie.CAMERA or sie.VIEW):
        return {}
    if not os.path.isfile(path):
        raise UserError(f"MODEL.WEIGHTS: {path!r} does not exist")
    return stored_side_information(read_weights(path).state)


def num_blocks(state: Mapping[str, Any]) -> int:
    """Blocks of a model's state dict, those of a global branch included."""
    return count_blocks(state) + int(has_branches(state))


def has_branches(state: Mapping[str, Any]) -> bool:
    """Whether a state dict is that of a model with JPMHead."""
    return any(key.startswith(GLOBAL_BRANCH) for key in state)


def with_branches(state: State) -> State:
    """Give a model's last block and norm to a global and a local branch, as JPMHead starts."""
    if has_branches(state):
        return state
    last = f"{BACKBONE}blocks.{num_blocks(state) - 1}."
    moved: State = {}
    for key, value in state.items():
        if key.startswith((last, BACKBONE + "norm.")):
            name = key.replace(last, "block.").removeprefix(BACKBONE)
            moved |= {GLOBAL_BRANCH + name: value, LOCAL_BRANCH + name: value.clone()}
        else:
            moved[key.replace("heads.neck.", "heads.necks.0.")] = value
    return moved


def without_branches(state: State) -> State:
    """Put a JPM model's global branch back as last block and norm; local parts are left out."""
    if not has_branches(state):
        return state
    last = f"{BACKBONE}blocks.{num_blocks(state) - 1}."
    moved = {}
    for key, value in state.items():
        key = key.replace(GLOBAL_BRANCH + "block.", last).replace(GLOBAL_BRANCH, BACKBONE)
        key = key.replace("heads.necks.0.", "heads.neck.")
        if not key.startswith((LOCAL_BRANCH, "heads.necks.")):
            moved[key] = value
    return moved
