"""What a feature depends on besides its image: the config's keys and the weights."""

from __future__ import annotations

from typing import Any

import torch
import yaml
from fastreid.config import CfgNode
from reid_common.digests import digest
from torch import nn

from ..side_information.trained import RECORD

# Keys of MODEL that make no difference to a feature.
_IRRELEVANT = (
    *("DEVICE", "WEIGHTS", "LOSSES", "QUEUE_SIZE", "FREEZE_LAYERS"),
    *("COMPILE", "COMPILE_MODE"),
)


def relevant_config(cfg: CfgNode) -> dict[str, Any]:
    """The part of a config that a feature depends on, in plain types."""
    whole = yaml.safe_load(cfg.dump())
    model = {key: value for key, value in whole["MODEL"].items() if key not in _IRRELEVANT}
    inputs = {key: whole["INPUT"].get(key) for key in ("SIZE_TEST", "TRANSFORM")}
    # Only where it is on: without it, files that were written before compare as equal.
    if whole["INPUT"].get("CROP", {}).get("ENABLED"):
        inputs["CROP"] = whole["INPUT"]["CROP"]["SIZE"]
    cameras = whole["DATASETS"].get("CAMERAS", [])
    return {"MODEL": model, "INPUT": inputs, "FLIP": whole["TEST"]["FLIP"], "CAMERAS": cameras}


def state_digest(model: nn.Module) -> str:
    """SHA-256 of a model's parameters and buffers, in the order of their names.

    A record that calls all rows trained is left out: it changes no feature, and models that were
    saved before there were records compare as equal.
    """
    state = sorted(model.state_dict().items())
    whole = (name for name, tensor in state if name.endswith(f".{RECORD}") and tensor.all())
    left_out = {*whole}
    tensors = (tensor.detach().cpu() for name, tensor in state if name not in left_out)
    # As bytes: numpy knows no bfloat16.
    return digest(t.contiguous().flatten().view(torch.uint8).numpy() for t in tensors)
