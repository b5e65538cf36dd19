"""Heads of the contrastive methods: MLPs behind a backbone, or behind another one.

Letters: B images, D dimensions of the backbone's feature, C of a query or key.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from torch import nn


def mlp(
    widths: Sequence[int], *, bias: bool, norm: bool = True, last_norm: bool = False
) -> nn.Sequential:
    """Linear layers with (BatchNorm and) ReLU between them: (B, widths[0]) -> (B, widths[-1]).

    Args:
        widths: D, of the hidden layers, C.
        bias: of the linear layers.
        norm: BatchNorm before each ReLU.
        last_norm: BatchNorm without scale and shift (BN*) behind the last layer.
    """
    layers: list[nn.Module] = []
    for number, (narrow, wide) in enumerate(itertools.pairwise(widths), 2):
        layers.append(nn.Linear(narrow, wide, bias=bias))
        if number < len(widths):
            layers += [*([nn.BatchNorm1d(wide)] if norm else []), nn.ReLU(inplace=True)]
    if last_norm:
        layers.append(nn.BatchNorm1d(widths[-1], affine=False))
    return nn.Sequential(*layers)
