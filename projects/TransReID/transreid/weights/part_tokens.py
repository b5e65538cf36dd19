"""Part tokens of PASS: its names into ours, kept or dropped.

Source: Zhu et al., "PASS: Part-Aware Self-Supervised Pre-Training for Person Re-Identification",
ECCV 2022, released code. Its ViT has [cls] and three part tokens, each with a position vector of
its own beside the patches' table; here they are prefix tokens, in front of one table.
"""

from __future__ import annotations

import re

import torch
from fastreid_compat.repairs.checkpoints.load_report import LoadReport
from reid_common.errors import UserError

from ..modeling.backbone import TransReIDBackbone
from .released import State

CLS, CLS_POS, POS_EMBED, TOKENS = (
    f"backbone.{name}" for name in ("cls_token", "cls_pos", "pos_embed", "reg_token")
)
PART = re.compile(r"backbone\.part_token(\d+)")


def with_prefix_tokens(state: State) -> tuple[State, int]:
    """A state dict whose part tokens are prefix tokens, and their number, 0 where there are none.

    Args:
        state: under our names, but for PASS's own tokens and positions.
    """
    numbers = sorted(int(match[1]) for key in state if (match := PART.fullmatch(key)))
    tokens = [f"backbone.part_token{number}" for number in numbers]
    positions = [CLS_POS, *(f"backbone.part{number}_pos" for number in numbers)]
    if not numbers or not all(key in state for key in (*positions, POS_EMBED)):
        return state, 0
    kept = {key: v for key, v in state.items() if key not in (*tokens, *positions)}
    kept[TOKENS] = torch.cat([state[key] for key in tokens], 1)
    kept[POS_EMBED] = torch.cat([state[key] for key in (*positions, POS_EMBED)], 1)
    return kept, len(numbers)


def fit_part_tokens(
    state: State, backbone: TransReIDBackbone, count: int, report: LoadReport
) -> None:
    """Drop the ``count`` part tokens of a file, in place, where a model is to have none.

    Raises:
        UserError: another number of them than the model has, and no word that they be dropped.
    """
    own = backbone.num_prefix_tokens - 1 if backbone.pos_embed_has_prefix else 0
    if own == count:
        return
    if not count and TOKENS not in state:
        raise UserError(
            f"{report.source!r} has no part tokens, this model {own}: set "
            "MODEL.BACKBONE.PART_TOKENS 0, and MODEL.HEADS.NAME BNNeckHead"
        )
    if count and not (backbone.drop_part_tokens and own == 0):
        raise UserError(
            f"{report.source!r} has {count} part tokens, this model {own}: set "
            f"MODEL.BACKBONE.PART_TOKENS {count} to keep them (and MODEL.HEADS.NAME PartTokenHead "
            "for PASS's feature), or MODEL.BACKBONE.DROP_PART_TOKENS True to load the rest"
        )
    if count:
        del state[TOKENS]
        table = state[POS_EMBED]
        state[POS_EMBED] = torch.cat([table[:, :1], table[:, 1 + count :]], 1)
        report.notices.append(f"{count} part tokens dropped: MODEL.BACKBONE.DROP_PART_TOKENS")
