"""Names of DINOv3's own files into those of timm.

Source: Siméoni et al., "DINOv3", 2025 (arXiv 2508.10104), released state dicts. What timm
calculates (positions by rotation) or does not have (a mask on the keys' bias) is left out, and so
are the biases of queries and values where they are all zero, as in the released files.
"""

from __future__ import annotations

import torch
from reid_common.errors import UserError

from .released import State

TEMPERATURE = 100.0
PERIODS = "rope_embed.periods"
DROPPED = (PERIODS, "mask_token")


def from_dinov3(state: State) -> State | None:
    """Translate a bare state dict of DINOv3; None where it is another's.

    Raises:
        UserError: positions of another temperature.
    """
    if "storage_tokens" not in state:
        return None
    if PERIODS in state:
        _check_periods(state[PERIODS])
    found: State = {}
    for key, value in state.items():
        name = key.replace("storage_tokens", "reg_token")
        name = name.replace(".ls1.gamma", ".gamma_1").replace(".ls2.gamma", ".gamma_2")
        if key in DROPPED or key.endswith(".bias_mask"):
            continue
        if name.endswith(".attn.qkv.bias"):
            query, _, value_bias = value.chunk(3)
            if query.any() or value_bias.any():
                found[name.replace("qkv.bias", "q_bias")] = query
                found[name.replace("qkv.bias", "v_bias")] = value_bias
        else:
            found[name] = value
    return found


def _check_periods(periods: torch.Tensor) -> None:
    expected = TEMPERATURE ** (torch.arange(len(periods)) / len(periods))
    if not torch.allclose(periods.float(), expected, rtol=0.02):
        raise UserError(
            f"the rotary positions of this DINOv3 have periods of {periods.min():g} to "
            f"{periods.max():g}, timm's of {expected.min():g} to {expected.max():g}; take a file "
            "of the released ViTs"
        )
