"""Names of the released TransReID implementation, translated into ours and back.

Source: damo-cv/TransReID and damo-cv/TransReID-SSL; their state dicts have ``base.*`` (ViT),
``b1.*`` and ``b2.*`` (global and local branch), ``bottleneck[_i].*`` and ``classifier[_i].weight``
(i = 1..k for the parts).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from reid_common.errors import UserError
from torch import Tensor

from ..modeling.side_embedding import added_pairs

State = dict[str, Tensor]

SIE_TABLE = "backbone.sie.sie_embed"
SIE_PARTS = ("backbone.sie.sie_camera", "backbone.sie.sie_view")  # of an additive table
NO_PLACE = ("backbone.reg_token", "backbone.proj")
NOT_RELEASED = ("backbone.sie.camera_table", "backbone.sie.trained_rows")
PREFIXES = {  # theirs -> ours; the first that fits
    "base.sie_embed": SIE_TABLE,
    "base.": "backbone.",
    "b1.0.": "heads.global_branch.block.",
    "b1.1.": "heads.global_branch.norm.",
    "b2.0.": "heads.local_branch.block.",
    "b2.1.": "heads.local_branch.norm.",
}


def count_blocks(state: Mapping[str, Any], vit: str = "backbone") -> int:
    """Blocks of the ViT in a state dict, those of branches left out."""
    numbers = [int(m[1]) for key in state if (m := re.match(rf"{vit}\.blocks\.(\d+)\.", key))]
    return max(numbers, default=-1) + 1


def from_released(state: State) -> State:
    """Translate a released state dict, with or without ``module.``, JPM or baseline.

    The released JPM models carry weights that nothing uses (``base.blocks.11``, ``base.norm``)
    beside the branches that were copied from them, and all carry an unused ``base.fc``: these are
    left out.

    Returns:
        State dict of :class:`transreid.TransReID` with JPMHead, or with BNNeckHead if there are no
        ``b1`` and ``b2``, but for the camera table, which released files do not have.
    """
    state = {key.removeprefix("module."): value for key, value in state.items()}
    with_jpm = any(key.startswith("b1.") for key in state)
    dead = ["base.fc.", "base.head."]
    if with_jpm:
        dead += [f"base.blocks.{count_blocks(state, 'base') - 1}.", "base.norm."]
    kept = {key: value for key, value in state.items() if not key.startswith(tuple(dead))}
    with_parts = "base.cls_pos" in state  # PASS: a BNNeck for each token, one classifier
    return {_translate(key, with_jpm, with_parts): value for key, value in kept.items()}


def _translate(key: str, with_jpm: bool, with_parts: bool) -> str:
    if match := re.fullmatch(r"(bottleneck|classifier)(?:_(\d+))?\.(.+)", key):
        neck = f"heads.necks.{match[2] or 0}" if with_jpm else "heads.neck"
        norm = f".norms.{match[2] or 0}" if with_parts and match[1] == "bottleneck" else ""
        return f"{neck}.{match[1]}{norm}.{match[3]}"
    for theirs, ours in PREFIXES.items():
        if key.startswith(theirs):
            return ours + key.removeprefix(theirs)
    return key


def to_released(state: State) -> State:
    """Translate the state dict of a :class:`transreid.TransReID` into the released names.

    Of a JPM model the last block and norm are there twice, as in released files: under ``b1`` and,
    unused, under ``base``. The camera table, the record of trained rows and ``base.fc`` (1000
    ImageNet classes that nothing uses) are left out.

    Raises:
        UserError: the model has a part that the released format cannot hold.
    """
    last = f"base.blocks.{count_blocks(state)}."
    released = {}
    parts = [state[key] for key in SIE_PARTS if key in state]
    if parts:  # the released format has a row for each pair alone
        state = {key: value for key, value in state.items() if key not in SIE_PARTS}
        state[SIE_TABLE] = added_pairs(*parts).flatten(0, 1)
    for key, value in state.items():
        if key in NOT_RELEASED:
            continue
        name = _translate_back(key)
        released[name] = value
        if name.startswith("b1."):
            unused = name.replace("b1.0.", last).replace("b1.1.", "base.norm.")
            released[unused] = value.clone()
    return released


def _translate_back(key: str) -> str:
    if match := re.fullmatch(r"heads\.neck(?:s\.(\d+))?\.(bottleneck|classifier)\.(\w+)", key):
        suffix = "" if match[1] in (None, "0") else f"_{match[1]}"
        return f"{match[2]}{suffix}.{match[3]}"
    for theirs, ours in PREFIXES.items():
        if key.startswith(ours) and not key.startswith(NO_PLACE):
            return theirs + key.removeprefix(ours)
    raise UserError(
        f"{key} has no place in the released format, which holds a ViT without registers and "
        "projection, SIE, and JPMHead or BNNeckHead; keep the model as our own checkpoint"
    )
