"""Pretrained backbones: weights that are missing or do not fit are refused; no need of gdown.

FastReID imports gdown, an unlisted dependency, even where the file is there already, and the
traceback of a failed download does not say that ``MODEL.BACKBONE.PRETRAIN_PATH`` takes a file.
"""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import pickle
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from fastreid.modeling.backbones import BACKBONE_REGISTRY
from fastreid.modeling.backbones import build as backbones_build
from reid_common.errors import UserError

from ...registry import Original, fix, replaces, source_has
from .backbone_weights import load_backbone
from .checkpoint_files import CONTAINERS, read_file, training_arguments_allowed, unwrapped

REMEDY = (
    "Download the pretrained weights of this backbone and set MODEL.BACKBONE.PRETRAIN_PATH to the "
    "file, or set MODEL.BACKBONE.PRETRAIN False to start from random weights."
)


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
def _reading_recorded() -> Iterator[list[Any]]:
    """Read files of ``torch.load`` onto the CPU, and give what is read to the caller as well."""
    load, contents = torch.load, []

    def load_and_keep(*args: Any, **kwargs: Any) -> Any:
        contents.append(load(*args, **{"map_location": "cpu", **kwargs}))
        return contents[-1]

    torch.load = load_and_keep
    try:
        yield contents
    finally:
        torch.load = load


def check_pretrain_path(path: str) -> None:
    """Raise UserError when the file of pretrained weights is not there or cannot be read."""
    if not Path(path).is_file():
        raise UserError(f"MODEL.BACKBONE.PRETRAIN_PATH: there is no file {path!r}. {REMEDY}")


@fix(
    where="modeling/backbones/resnet.py:248,339 and the other backbones",
    since="always (no gdown, no network), torch 2.6 (Namespace in a file)",
    symptom="MODEL.BACKBONE.PRETRAIN without a file: No module named 'gdown' or a network error;"
    " with one of another form or network: training from random weights, exit 0",
)
@replaces(backbones_build, "build_backbone", "BACKBONE_REGISTRY.get(backbone_name)(cfg)")
def pretrained_backbones(original: Original, cfg: Any) -> torch.nn.Module:
    """Load any form of weights, and refuse what does not fit; download without gdown."""
    options = cfg.MODEL.BACKBONE
    if not options.PRETRAIN:
        return original(cfg)
    if options.PRETRAIN_PATH:
        check_pretrain_path(options.PRETRAIN_PATH)
        return _built_from_file(original, cfg)
    try:
        with gdown_or_substitute(), training_arguments_allowed(), _reading_recorded() as contents:
            backbone = original(cfg)
    except (OSError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "size mismatch" not in str(error):
            raise
        raise UserError(
            f"MODEL.BACKBONE.PRETRAIN is True, but no weights for {options.NAME} (depth "
            f"{options.DEPTH}) could be loaded ({error}). {REMEDY}"
        ) from error
    if contents and _reads_as_fastreid(options.NAME):
        source = f"the download for {options.NAME}"
        load_backbone(backbone, unwrapped(contents[-1], source)["model"], source, complete=False)
    return backbone


def _built_from_file(build: Original, cfg: Any) -> torch.nn.Module:
    """Build a backbone and load the file of PRETRAIN_PATH, which FastReID's own never get to see.

    A backbone of another project whose module knows the key loads the file itself.
    """
    options = cfg.MODEL.BACKBONE
    builder = BACKBONE_REGISTRY.get(options.NAME)
    if not _reads_as_fastreid(options.NAME) and source_has(
        inspect.getmodule(builder), "PRETRAIN_PATH"
    ):
        return _read_by_its_builder(build, cfg)
    state = unwrapped(read_file(options.PRETRAIN_PATH), options.PRETRAIN_PATH)["model"]
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.BACKBONE.PRETRAIN = False
    backbone = build(cfg)
    load_backbone(backbone, state, options.PRETRAIN_PATH)
    return backbone


def _read_by_its_builder(build: Original, cfg: Any) -> torch.nn.Module:
    options = cfg.MODEL.BACKBONE
    try:
        with training_arguments_allowed():
            return build(cfg)
    except (pickle.UnpicklingError, EOFError, RuntimeError, KeyError) as error:
        if isinstance(error, KeyError) and error.args[0] not in CONTAINERS:
            raise
        raise UserError(
            f"MODEL.BACKBONE.PRETRAIN_PATH: {options.NAME} (depth {options.DEPTH}) cannot load "
            f"{options.PRETRAIN_PATH!r} ({type(error).__name__}: {error}). Give weights of this "
            "backbone."
        ) from error


def _reads_as_fastreid(name: str) -> bool:
    return BACKBONE_REGISTRY.get(name).__module__.startswith("fastreid.")
