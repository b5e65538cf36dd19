"""Reading a folder of published weights: what it holds is data, and fits together.

The config is plain YAML that names no other file, the weights are safetensors: nothing is unpickled
and no code is run. What ``preprocess.json`` tells other programs must be what the config does.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml
from fastreid.config import CfgNode
from fastreid.config.config import BASE_KEY
from fastreid.data import build as data_build
from reid_common.errors import UserError
from reid_common.published import (
    CONFIG,
    HASHED,
    MANIFEST,
    REMEDY,
    WEIGHTS,
    check_files,
    read_manifest,
)
from reid_core.config import load_config

from ..data.resizing import resizing_of
from ..weights.hub import find_published

PIXEL_RANGE = (0, 255)  # of what the transform gives, and MODEL.PIXEL_MEAN and STD are for


def published_model(name: str | os.PathLike[str], revision: str | None = None) -> tuple[str, str]:
    """Config and weights files of a folder of published weights, or of a model on the hub.

    Args:
        name: folder, or USER/NAME on the hub.
        revision: branch, tag or commit on the hub.

    Raises:
        UserError: no such folder or model, or files that were changed, cut or mixed up. The weights
            are looked at where they are read.
    """
    folder = find_published(name, revision)
    manifest = read_manifest(folder)
    check_files(folder, manifest, [file for file in HASHED if file != WEIGHTS])
    config = folder / CONFIG
    _check_plain(config)
    expected = preprocessing(load_config(config))
    for key, value in expected.items():
        if manifest.get(key) != value:
            raise UserError(
                f"{str(folder / MANIFEST)!r}: {key} is {manifest.get(key)!r}, but the model of "
                f"{CONFIG} takes {value!r}; {REMEDY}"
            )
    return str(config), str(folder / WEIGHTS)


def _check_plain(config: Path) -> None:
    """Raise UserError where a config is no plain YAML mapping, or reaches for other files."""
    try:
        content = yaml.safe_load(config.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{str(config)!r} is no plain YAML: {error}; {REMEDY}") from error
    if not isinstance(content, dict) or BASE_KEY in content:
        what = f"names another file ({BASE_KEY})" if isinstance(content, dict) else "has no keys"
        raise UserError(f"{str(config)!r} {what}, which a published config does not; {REMEDY}")


def preprocessing(cfg: CfgNode) -> dict[str, Any]:
    """What happens to an image before the network, as JSON can hold it, for other programs.

    "size" (height, width) and "interpolation" are of the resize, by Pillow; "crop" is the centre
    that is kept after it, or None; "color" is the order of the channels; "range" what the numbers
    are, and "mean" and "std" what is taken off them and what they are divided by, then.

    Raises:
        UserError: the config's transform does something else.
    """
    steps = resizing_of(data_build.build_transforms(cfg, is_train=False))
    if steps.strange:
        raise UserError(
            f"the test transform of INPUT.TRANSFORM {cfg.INPUT.get('TRANSFORM')} has the step "
            f"{steps.strange}, which {MANIFEST} has no words for; publish a model with Resize, "
            "CenterCrop and ToTensor alone"
        )
    return {
        "size": [*steps.size] or None,
        "interpolation": steps.interpolation or None,
        "crop": None if steps.crop is None else [*steps.crop],
        "color": "RGB",
        "range": [*PIXEL_RANGE],
        "mean": [float(value) for value in cfg.MODEL.PIXEL_MEAN],
        "std": [float(value) for value in cfg.MODEL.PIXEL_STD],
    }
