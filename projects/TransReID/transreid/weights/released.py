"""Names of the released TransReID implementation, translated into ours and back.

Source: damo-cv/TransReID and damo-cv/TransReID-SSL; their state dicts have ``base.*`` (ViT),
``b1.*`` and ``b2.*`` (global and local branch), ``bottleneck[_i].*`` and ``classifier[_i].weight``
(i = 1..k for the parts).
"""

from __future__ import annotations

import re

from reid_common.errors import UserError
from torch import Tensor

State = dict[str, Tensor]

SIE_TABLE = "backbone.sie.sie_embed"
SIE_PARTS = ("backbone.sie.sie_camera", "backbone.sie.sie_view")  # of an additive table
BRANCHES = {"b1": "heads.global_branch", "b2": "heads.local_branch"}
BRANCH_PARTS = {"0": "block", "1": "norm"}


def from_released(state: State) -> State:
    """Translate a released state dict, with or without ``module.``, JPM or baseline.

    The released JPM models carry weights that nothing uses (``base.blocks.11``, ``base.norm``)
    beside the branches that were copied from them, and all carry an unused ``base.fc``: these are
    left out.

    Returns:
        State dict of :class:`transreid.TransReID` with JPMHead, or with BNNeckHead if there are no
        ``b1`` and ``b2``. The camera table, which released files do not have, is left out.
    """
    state = {key.removeprefix("module."): value for key, value in state.items()}
    with_jpm = any(key.startswith("b1.") for key in state)
    blocks = [int(m[1]) for key in state if (m := re.match(r"base\.blocks\.(\d+)\.", key))]
    dead = ["base.fc.", "base.head."]
    if with_jpm:
        dead += [f"base.blocks.{max(blocks, default=0)}.", "base.norm."]
    translated = {}
    for key, value in state.items():
        if not key.startswith(tuple(dead)):
            translated[_translate(key, with_jpm)] = value
    return translated


def _translate(key: str, with_jpm: bool) -> str:
    first, _, rest = key.partition(".")
    if first == "base":
        return "backbone." + ("sie.sie_embed" if rest == "sie_embed" else rest)
    if first in BRANCHES:
        part, _, inside = rest.partition(".")
        if part in BRANCH_PARTS:
            return f"{BRANCHES[first]}.{BRANCH_PARTS[part]}.{inside}"
    if match := re.fullmatch(r"(bottleneck|classifier)(?:_(\d+))?", first):
        neck = f"heads.necks.{match[2] or 0}" if with_jpm else "heads.neck"
        return f"{neck}.{match[1]}.{rest}"
    return key


def to_released(state: State) -> State:
    """Translate the state dict of one of our models into the released names.

    Args:
        state: of a :class:`transreid.TransReID` with JPMHead or BNNeckHead.

    Returns:
        The released names. Of a JPM model the last block and norm are there twice, as in released
        files: under ``b1`` and, unused, under ``base``. The camera table and ``base.fc`` (1000
        ImageNet classes that nothing uses) are left out.

    Raises:
        UserError: the model has a part that the released format cannot hold.
    """
    blocks = [int(m[1]) for key in state if (m := re.match(r"backbone\.blocks\.(\d+)\.", key))]
    last = max(blocks, default=-1) + 1
    released = {}
    parts = [state[key] for key in SIE_PARTS if key in state]
    if parts:  # the released format has a row for each pair alone
        state = {key: value for key, value in state.items() if key not in SIE_PARTS}
        state[SIE_TABLE] = joint_table(*parts)
    for key, value in state.items():
        if key == "backbone.sie.camera_table":
            continue
        name = _translate_back(key)
        released[name] = value
        if name.startswith("b1.0."):
            released[f"base.blocks.{last}.{name.removeprefix('b1.0.')}"] = value.clone()
        elif name.startswith("b1.1."):
            released[f"base.norm.{name.removeprefix('b1.1.')}"] = value.clone()
    return released


def joint_table(cameras: Tensor, views: Tensor) -> Tensor:
    """S_C (C, 1, D) and S_V (V, 1, D) as a joint table, (C * V, 1, D)."""
    return (cameras[:, None] + views).flatten(0, 1)


def _translate_back(key: str) -> str:
    if key == SIE_TABLE:
        return "base.sie_embed"
    if key.startswith("backbone.") and not key.startswith("backbone.reg_token"):
        return "base." + key.removeprefix("backbone.")
    for theirs, ours in BRANCHES.items():
        for number, part in BRANCH_PARTS.items():
            if key.startswith(f"{ours}.{part}."):
                return f"{theirs}.{number}.{key.removeprefix(f'{ours}.{part}.')}"
    if match := re.fullmatch(r"heads\.neck(?:s\.(\d+))?\.(bottleneck|classifier)\.(\w+)", key):
        suffix = "" if match[1] in (None, "0") else f"_{match[1]}"
        return f"{match[2]}{suffix}.{match[3]}"
    raise UserError(
        f"{key} has no place in the released format, which holds a ViT without registers, SIE, and "
        "JPMHead or BNNeckHead; keep the model as our own checkpoint"
    )
