"""Optimizers that SOLVER.OPT chooses from for the methods of contrastive learning."""

from __future__ import annotations

from typing import Any

import torch
from fastreid.config import CfgNode

from .lars import LARS

OPTIMIZERS = ("SGD", "AdamW", "LARS")


def optimizer_of(cfg: CfgNode, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    """SOLVER.OPT over groups with their own weight decay; the learning rate is set in each step."""
    solver = cfg.SOLVER
    if solver.OPT == "AdamW":
        return torch.optim.AdamW(groups, lr=0.0)
    kind = LARS if solver.OPT == "LARS" else torch.optim.SGD
    return kind(groups, lr=0.0, momentum=solver.MOMENTUM)
