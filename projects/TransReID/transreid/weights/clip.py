"""Names of CLIP's image tower, as OpenAI's files and CLIP-ReID's models have them, into ours.

Sources: Radford et al., "Learning Transferable Visual Models From Natural Language Supervision",
ICML 2021; Li et al., "CLIP-ReID", AAAI 2023; released code and state dicts of both.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from torch import Tensor

from .reading import HALF, Reading
from .released import State

HEAD_DIM = 64  # of every CLIP tower: width / 64 heads
EPS = 1e-5
MARK = "class_embedding"  # no other ViT calls its [cls] token so
NAMES = {  # theirs -> ours, where it is no rule
    MARK: "cls_token",
    "positional_embedding": "pos_embed",
    "conv1.weight": "patch_embed.proj.weight",
    "proj": "proj",
}
PARTS = {
    "ln_pre.": "norm_pre.",
    "ln_post.": "norm.",
    "transformer.resblocks.": "blocks.",
    ".ln_1.": ".norm1.",
    ".ln_2.": ".norm2.",
    ".attn.in_proj_": ".attn.qkv.",
    ".attn.out_proj.": ".attn.proj.",
    ".mlp.c_fc.": ".mlp.fc1.",
    ".mlp.c_proj.": ".mlp.fc2.",
}
LEADING = {"cls_token": 2, "pos_embed": 1}  # axes of size 1 that ours have in front
HEADS = {"": 0, "_proj": 1}  # CLIP-ReID's bottleneck and bottleneck_proj


class Found(NamedTuple):
    """A file that was recognised."""

    state: State  # in our names
    kind: str
    reading: Reading


def from_clip(state: Mapping[str, Tensor]) -> Found | None:
    """Translate a state dict with CLIP's image tower; None where there is none.

    The text tower and the learnt texts of CLIP-ReID, which no feature depends on, are left out.

    Args:
        state: without ``module.``.
    """
    marked = [key for key in state if key.rpartition(".")[2] == MARK]
    if not marked or f"{marked[0].removesuffix(MARK)}conv1.weight" not in state:
        return None
    prefix = marked[0].removesuffix(MARK)
    tower = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    found = {f"backbone.{_translate(key)}": value.float() for key, value in tower.items()}
    for name, axes in LEADING.items():
        found[f"backbone.{name}"] = found[f"backbone.{name}"][(None,) * axes]
    width = found["backbone.cls_token"].shape[-1]
    reading = Reading(num_heads=width // HEAD_DIM, activation="QuickGELU", eps=EPS)
    heads = _heads(state)
    if not heads:
        return Found(found, "CLIP's image tower", reading)
    if "cv_embed" in state:
        found["backbone.sie.sie_embed"] = state["cv_embed"][:, None]
    whole = replace(reading, sie_tokens="cls", pixels=HALF)
    return Found(found | heads, "released CLIP-ReID", whole)


def _translate(key: str) -> str:
    if key in NAMES:
        return NAMES[key]
    for theirs, ours in PARTS.items():
        key = key.replace(theirs, ours)
    return key


def _heads(state: Mapping[str, Tensor]) -> State:
    """BNNecks and classifiers of the feature and of its projection."""
    heads = {}
    for key, value in state.items():
        if match := re.fullmatch(r"(bottleneck|classifier)(|_proj)\.(\w+)", key):
            heads[f"heads.necks.{HEADS[match[2]]}.{match[1]}.{match[3]}"] = value
    return heads
