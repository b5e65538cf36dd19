"""Weights of any known format into our checkpoint, or ours into a file of the released format."""

from __future__ import annotations

from typing import Any

import reid_core  # noqa: F401  (first: repairs FastReID)
import torch
from fastreid.engine import DefaultTrainer
from fastreid_compat.repairs.checkpoints.checkpoint_files import AtomicPathManager
from reid_core.config import load_config
from reid_core.side_information.resolve import resolve_side_information

from ..modeling.features import side_embedding_of
from ..modeling.side_embedding import SideInformationEmbedding
from .checkpoint import load_weights
from .formats import read_weights, stored_side_information
from .released import SIE_PARTS, SIE_TABLE, State, to_released

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
    if to == "released":
        state = to_released(with_rows_as_used(state, side_embedding_of(model)))
    else:
        state = {"model": state}
    with AtomicPathManager.open(out, "wb") as file:
        torch.save(state, file)


def with_rows_as_used(state: State, sie: SideInformationEmbedding | None) -> State:
    """The state of a model whose SIE table holds, for rows that were not trained, what is used.

    A format without the record of trained rows would take them for trained ones: random numbers.
    With MODEL.SIE.UNKNOWN "error" nothing is used in their place, and they are as they are.
    """
    if sie is None or sie.known().all():
        return state
    count = max(sie.num_cameras, 1) * max(sie.num_views, 1)
    kept = {key: value for key, value in state.items() if key not in SIE_PARTS}
    return {**kept, SIE_TABLE: sie.table()[:count].detach().cpu()}
