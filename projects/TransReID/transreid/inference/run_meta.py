"""What features were made of: config, weights, list of images, versions; and whether two agree."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import timm
import torch
import yaml
from fastreid.config import CfgNode
from torch import nn

if TYPE_CHECKING:
    from .extractor import FeatureExtractor
    from .image_lists import ImageItem

# What must agree for features to be comparable: key in the meta data -> name in messages.
SAME_SPACE = {"config": "config", "weights_sha256": "weights file"}
SAME_RUN = {
    **SAME_SPACE,
    "images_sha256": "list of images (or an image file has changed)",
    "precision": "precision",
    "shard_size": "shard size",
}
# Keys of MODEL that make no difference to a feature.
_IRRELEVANT = ("DEVICE", "WEIGHTS", "LOSSES", "QUEUE_SIZE", "FREEZE_LAYERS", "COMPILE")


def describe(extractor: FeatureExtractor, items: Sequence[ImageItem]) -> dict[str, Any]:
    """Meta data of the features of ``items``, as JSON can hold it.

    Returns:
        "config" (the keys that a feature depends on), "weights" (path), "weights_sha256" (of that
        file), "images_sha256" (of paths, ids and the files' sizes and times), "precision",
        "feature_dim", "versions".
    """
    path = extractor.cfg.MODEL.WEIGHTS
    return {
        "config": relevant_config(extractor.cfg),
        "weights": path,
        "weights_sha256": file_digest(path) if path else _state_digest(extractor.model),
        "images_sha256": _items_digest(items),
        "precision": extractor.precision,
        "feature_dim": extractor.feature_dim,
        "versions": {"torch": torch.__version__, "timm": timm.__version__},
    }


def relevant_config(cfg: CfgNode) -> dict[str, Any]:
    """The part of a config that a feature depends on, in plain types."""
    whole = yaml.safe_load(cfg.dump())
    model = {key: value for key, value in whole["MODEL"].items() if key not in _IRRELEVANT}
    inputs = {key: whole["INPUT"].get(key) for key in ("SIZE_TEST", "TRANSFORM")}
    cameras = whole["DATASETS"].get("CAMERAS", [])
    return {"MODEL": model, "INPUT": inputs, "FLIP": whole["TEST"]["FLIP"], "CAMERAS": cameras}


def differences(
    one: Mapping[str, Any], other: Mapping[str, Any], keys: Mapping[str, str] = SAME_RUN
) -> list[str]:
    """Names of what differs between two meta data; keys that one of them lacks do not count."""
    both = [key for key in keys if key in one and key in other]
    return [keys[key] for key in both if _plain(one[key]) != _plain(other[key])]


def _plain(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def file_digest(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with open(path, "rb") as file:
        return digest(iter(lambda: file.read(2**20), b""))


def _state_digest(model: nn.Module) -> str:
    state = model.state_dict()
    return digest(state[key].cpu().numpy().tobytes() for key in sorted(state))


def _items_digest(items: Sequence[ImageItem]) -> str:
    return digest(json.dumps([*item, *_file_state(item.path)]).encode() for item in items)


def _file_state(path: str) -> tuple[int, int]:
    """Size in bytes and time of the last change in ns; -1 each where there is no such file.

    With them a mended or replaced image counts as another; reading all of it would take as long as
    the extraction.
    """
    try:
        status = os.stat(path)
    except (OSError, ValueError):  # ValueError: a NUL in a listed name
        return -1, -1
    return status.st_size, status.st_mtime_ns


def digest(blocks: Iterable[bytes]) -> str:
    """SHA-256 of what several blocks are together, in hexadecimal digits."""
    sha = hashlib.sha256()
    for block in blocks:
        sha.update(block)
    return sha.hexdigest()
