"""What a stage's result depends on.

The settings of a training are its whole FastReID config but for what makes no difference to the
weights: where it runs, with how many workers, how often it is saved and tested.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from fastreid.config import CfgNode
from reid_common.digests import file_digest
from reid_core.data.opening import MissingDataset, data_root, find_path

from ...filters import FILTER_REGISTRY
from ...scores.shards import META

# Keys, or beginnings of keys, that make no difference to the weights of a training.
_NO_DIFFERENCE = (
    "OUTPUT_DIR",
    "CUDNN_BENCHMARK",
    "DATALOADER.NUM_WORKERS",
    "DATASETS.FILTER_CACHE",
    "DATASETS.MAX_UNREADABLE",
    "DINO.COLLAPSE_GRACE",
    "DINO.MAX_BAD_IMAGES",
    "DINO.STOP_ON_COLLAPSE",
    "MODEL.COMPILE",
    "MODEL.DEVICE",
    "SOLVER.CHECKPOINT_PERIOD",
    "TEST.",
)
# Makes none to a ViT, up to rounding
_CHECKPOINTING = "MODEL.BACKBONE.GRADIENT_CHECKPOINTING"
# Nor does this where nothing compares the images of a piece, as BatchNorm and KoLeo do
_PIECES = "DINO.MICRO_BATCH"
_DIFFERENCE_ALL_THE_SAME = ("TEST.PRECISE_BN.",)
# Kept for who reads the record: of files the content counts, not the place; of tests nothing.
NOT_COMPARED = ("DATASETS.TESTS", "MODEL.BACKBONE.PRETRAIN_PATH", "MODEL.WEIGHTS")
INPUTS = "inputs."


def flat(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted keys and values of a nested mapping."""
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def training_settings(cfg: CfgNode, num_gpus: int, folder: Path) -> dict[str, Any]:
    """Settings of a training; paths in ``folder``, the pipeline's, become relative to it."""
    ignored: tuple[str, ...] = _NO_DIFFERENCE
    backbone = cfg.MODEL.BACKBONE
    if backbone.NAME == "build_transreid_backbone":
        ignored += (_CHECKPOINTING,)
        if backbone.STEM != "ics" and not cfg.DINO.KOLEO_WEIGHT:
            ignored += (_PIECES,)
    own = json.dumps(os.path.join(folder, ""))[1:-1]
    whole = json.dumps(yaml.safe_load(cfg.dump())).replace(own, "")
    kept = {
        key: value
        for key, value in flat(json.loads(whole))
        if not key.startswith(ignored) or key.startswith(_DIFFERENCE_ALL_THE_SAME)
    }
    return {**kept, "NUM_GPUS": num_gpus}


def training_inputs(cfg: CfgNode) -> dict[str, str]:
    """Files that a training reads besides images: what for -> path.

    Those of filters may be in the data root.
    """
    backbone = cfg.MODEL.BACKBONE
    inputs = {"MODEL.WEIGHTS": cfg.MODEL.WEIGHTS}
    if backbone.PRETRAIN:
        inputs["MODEL.BACKBONE.PRETRAIN_PATH"] = backbone.PRETRAIN_PATH
    for number, entry in enumerate(cfg.DATASETS.FILTERS):
        options = dict(entry)
        for option in getattr(FILTER_REGISTRY._obj_map.get(options.get("NAME")), "files", ()):
            path = str(options.get(option, ""))
            inputs[f"DATASETS.FILTERS[{number}].{option}"] = path and _where(path)
    return {key: path for key, path in inputs.items() if path}


def _where(path: str) -> str:
    try:
        return find_path(path, data_root(), "")
    except MissingDataset:  # an earlier stage will make it
        return path


def digests(inputs: Mapping[str, str]) -> dict[str, str]:
    """Settings that say what input files hold: "inputs.KEY" -> SHA-256; missing ones left out.

    Of a folder of scores its meta.json counts, which says what the scores were made of.
    """
    files = {
        k: os.path.join(path, META) if os.path.isdir(path) else path for k, path in inputs.items()
    }
    return {INPUTS + key: file_digest(file) for key, file in files.items() if os.path.isfile(file)}
