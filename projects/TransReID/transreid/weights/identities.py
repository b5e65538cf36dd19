"""How many identities a checkpoint was trained to tell apart."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from fastreid_compat.repairs.checkpoints.checkpoint_files import read_file, unwrapped
from torch import Tensor

# Weights (C, D) of classifiers: ours, FastReID's, MGN's, and those of released models
CLASSIFIER = re.compile(
    r"(module\.)?("
    r"heads\.(neck|necks\.0)\.classifier\.weight|heads\.weight|b1_head(\.classifier)?\.weight"
    r"|classifier(_\d+|_proj)?\.weight|conv_fc\.weight)"
)


def num_identities(path: str) -> int:
    """Classes of the (first) classifier in a checkpoint, 0 if it has none."""
    return classes_in(unwrapped(read_file(path), path)["model"])


def classes_in(state: Mapping[str, Any]) -> int:
    """Classes of the (first) classifier in a state dict, 0 if it has none."""
    found = (value for key, value in state.items() if CLASSIFIER.fullmatch(str(key)))
    return next((len(value) for value in found if isinstance(value, Tensor)), 0)
