"""Weights of any known format into our checkpoint, or ours into a file of the released format."""

from __future__ import annotations

from typing import Any

import reid_core  # noqa: F401  (first: repairs FastReID)
import torch
from fastreid.engine import DefaultTrainer
from fastreid_compat.repairs.checkpoints.checkpoint_files import AtomicPathManager
from reid_core.config import load_config
from reid_core.side_information.resolve import resolve_side_information

from .checkpoint import load_weights
from .formats import read_weights, stored_side_information
from .released import to_released

FORMATS = ("ours", "released")


def convert(source: str, out: str, config_file: str, to: str, options: list[str]) -> None:
    """Load a file into the model of a config and write that model.

    Args:
        source: checkpoint of any format that ``load_weights`` knows.
        out: file to write.
        config_file: what the model is; the number of identities is the file's.
        to: "ours" ({"model": state_dict}, for MODEL.WEIGHTS) or "released" (the names of
            damo-cv/TransReID, a bare state dict).
        options: KEY VALUE pairs for the config.

    Raises:
        UserError: the file does not fit the config, or the format cannot hold the model.
    """
    weights = read_weights(source)
    cfg = load_config(config_file, options)
    cfg.MODEL.WEIGHTS = source
    cfg.DATASETS.TESTS = ()  # no data set is needed here
    cfg.MODEL.BACKBONE.PRETRAIN = False
    cfg.MODEL.HEADS.NUM_CLASSES = cfg.MODEL.HEADS.NUM_CLASSES or weights.num_classes
    resolve_side_information(cfg, stored_side_information(weights.state))
    model = DefaultTrainer.build_model(cfg)
    load_weights(model, weights)
    state: Any = {key: value.cpu() for key, value in model.state_dict().items()}
    state = to_released(state) if to == "released" else {"model": state}
    with AtomicPathManager.open(out, "wb") as file:
        torch.save(state, file)
