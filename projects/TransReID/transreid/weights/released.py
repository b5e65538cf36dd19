"""Names of the released TransReID implementation, translated into ours.

Source: damo-cv/TransReID; its state dicts have ``base.*`` (ViT), ``b1.*`` and ``b2.*`` (global
and local branch), ``bottleneck[_i].*`` and ``classifier[_i].weight`` (i = 1..k for the parts).
"""

from __future__ import annotations

import re

from torch import Tensor

BRANCHES = {"b1": "heads.global_branch", "b2": "heads.local_branch"}
BRANCH_PARTS = {"0": "block", "1": "norm"}


def from_released(state: dict[str, Tensor]) -> dict[str, Tensor]:
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
        dead += [f"base.blocks.{max(blocks)}.", "base.norm."]
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
        part, _, rest = rest.partition(".")
        return f"{BRANCHES[first]}.{BRANCH_PARTS[part]}.{rest}"
    if match := re.fullmatch(r"(bottleneck|classifier)(?:_(\d+))?", first):
        neck = f"heads.necks.{match[2] or 0}" if with_jpm else "heads.neck"
        return f"{neck}.{match[1]}.{rest}"
    return key
