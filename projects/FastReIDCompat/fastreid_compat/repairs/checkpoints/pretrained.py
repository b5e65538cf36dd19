"""Pretrained backbones: clear messages where the weights are missing, and no need of gdown.

FastReID imports gdown, an unlisted dependency, even where the file is there already, and the
traceback of a failed download does not say that ``MODEL.BACKBONE.PRETRAIN_PATH`` takes a file.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import pickle
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from fastreid.modeling.backbones import build as backbones_build
from fastreid.modeling.backbones import mobilenetv3, shufflenet
from reid_common.errors import UserError

from ...registry import Original, fix, rebind, replaces, source_has
from .checkpoint_files import training_arguments_allowed

REMEDY = (
    "Download the pretrained weights of this backbone and set MODEL.BACKBONE.PRETRAIN_PATH to the "
    "file, or set MODEL.BACKBONE.PRETRAIN False to start from random weights."
)

# The keys under which some backbones expect the state dict in a file.
WRAPPING_KEYS = ("model", "state_dict", "model_state")


def download(url: str, output: str, quiet: bool = False) -> str:
    """Download ``url`` to the file ``output`` as ``gdown.download`` does, but no Google Drive."""
    if "drive.google.com" in url:
        raise OSError(f"{url} is on Google Drive, which needs gdown (pip install gdown)")
    torch.hub.download_url_to_file(url, output, progress=not quiet)
    return output


@contextlib.contextmanager
def gdown_or_substitute() -> Iterator[None]:
    """Make ``import gdown`` work: with the installed package, or with :func:`download`."""
    if "gdown" in sys.modules or importlib.util.find_spec("gdown") is not None:
        yield
        return
    module = types.ModuleType("gdown")
    module.download = download  # type: ignore[attr-defined]
    sys.modules["gdown"] = module
    try:
        yield
    finally:
        del sys.modules["gdown"]


@contextlib.contextmanager
def _loaded_onto_the_cpu() -> Iterator[None]:
    """Let ``torch.load`` put tensors on the CPU where the caller does not say where."""
    load = torch.load
    torch.load = functools.partial(load, map_location="cpu")
    try:
        yield
    finally:
        torch.load = load


def check_pretrain_path(path: str) -> None:
    """Raise UserError when the file of pretrained weights is not there or cannot be read."""
    if not Path(path).is_file():
        raise UserError(f"MODEL.BACKBONE.PRETRAIN_PATH: there is no file {path!r}. {REMEDY}")


@fix(
    where="modeling/backbones/resnet.py:248,339 and the other backbones",
    since="always (no gdown, no network), torch 2.6 (Namespace in a file)",
    symptom="MODEL.BACKBONE.PRETRAIN without a file: No module named 'gdown' or a network error",
)
@replaces(backbones_build, "build_backbone", "BACKBONE_REGISTRY.get(backbone_name)(cfg)")
def pretrained_backbones(original: Original, cfg: Any) -> torch.nn.Module:
    """Download without gdown; say which key to set where that fails or the file is missing."""
    backbone = cfg.MODEL.BACKBONE
    if not backbone.PRETRAIN:
        return original(cfg)
    path = backbone.PRETRAIN_PATH
    if path:
        check_pretrain_path(path)
    try:
        with gdown_or_substitute(), training_arguments_allowed():
            return original(cfg)
    except OSError as error:
        if path:
            raise
        raise UserError(
            f"MODEL.BACKBONE.PRETRAIN is True, but no weights for {backbone.NAME} (depth "
            f"{backbone.DEPTH}) could be loaded ({error}). {REMEDY}"
        ) from error
    except (pickle.UnpicklingError, EOFError, RuntimeError, KeyError) as error:
        if not path or (isinstance(error, KeyError) and error.args[0] not in WRAPPING_KEYS):
            raise
        raise UserError(
            f"MODEL.BACKBONE.PRETRAIN_PATH: {backbone.NAME} (depth {backbone.DEPTH}) cannot "
            f"load {path!r} ({type(error).__name__}: {error}). Give weights of this backbone."
        ) from error


@fix(
    where="modeling/backbones/shufflenet.py:187, mobilenetv3.py:265",
    symptom="PRETRAIN_PATH with weights saved on a GPU: Attempting to deserialize object on a CUDA"
    " device, without CUDA; with it, a second copy of them on GPU 0 from every process",
)
def weights_onto_the_cpu() -> bool:
    """Load pretrained weights onto the CPU, as the other backbones do."""
    loaders = {
        "build_shufflenetv2_backbone": shufflenet.build_shufflenetv2_backbone,
        "build_mobilenetv3_backbone": mobilenetv3._mobilenet_v3_model,
    }
    broken = {name for name, f in loaders.items() if source_has(f, "torch.load(pretrain_path)")}
    if not broken:
        return False
    original = backbones_build.build_backbone

    def build_backbone(cfg: Any) -> torch.nn.Module:
        if cfg.MODEL.BACKBONE.NAME not in broken:
            return original(cfg)
        with _loaded_onto_the_cpu():
            return original(cfg)

    rebind(original, build_backbone)
    return True
