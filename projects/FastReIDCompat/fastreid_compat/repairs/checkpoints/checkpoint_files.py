"""Checkpoint files: written all or not at all, read without running the code that they may hold."""

from __future__ import annotations

import argparse
import codecs
import contextlib
import importlib
import os
import pickle
import re
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import IO, Any

import numpy as np
import torch
from fastreid.utils import checkpoint
from reid_common.errors import UserError
from reid_common.files import replacing
from reid_common.published import check_weights_file, weights_file

from ...registry import fix, source_has

Checkpointer = checkpoint.Checkpointer
released_path_manager = checkpoint.PathManager

# Where checkpoints keep the state dict; the first that is there.
CONTAINERS = ("model", "state_dict", "teacher", "model_state", "model_state_dict", "net", "network")


class AtomicPathManager(released_path_manager):  # type: ignore[misc, valid-type]
    """FastReID's PathManager, whose local files appear under their name when they are complete."""

    @staticmethod
    def open(path: str, mode: str = "r", buffering: int = -1, **kwargs: Any) -> Any:
        """Open ``path``; for writing, use the result in a ``with`` statement."""
        if "w" in mode and "://" not in path:
            return _replacing(path, mode)
        return released_path_manager.open(path, mode, buffering, **kwargs)


@contextlib.contextmanager
def _replacing(path: str, mode: str) -> Iterator[IO]:
    """Write to a file beside ``path`` that takes its place at the end.

    Raises:
        UserError: the file cannot be written (the disk is full, say); the old one is untouched.
    """
    try:
        with replacing(path) as temporary, open(temporary, mode) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
    except (UserError, RuntimeError) as error:  # torch's zip writer raises RuntimeError, too
        raise UserError(
            f"cannot write {path}: {error.__cause__ or error}. An older file of that name is "
            "untouched; make room or choose another OUTPUT_DIR, then continue with --resume"
        ) from error


@fix(
    where="utils/checkpoint.py:93,201",
    symptom="a run killed while it writes leaves half a checkpoint, and --resume cannot read it",
)
def atomic_checkpoints() -> bool:
    """Write checkpoints and ``last_checkpoint`` under another name first."""
    if not source_has(Checkpointer.save, 'PathManager.open(save_file, "wb")'):
        return False
    checkpoint.PathManager = AtomicPathManager
    return True


@fix(
    where="utils/checkpoint.py:216",
    since="torch 2.6",
    symptom="Weights only load failed: numpy scalars, defaultdict or CfgNode in a checkpoint",
)
def harmless_types_in_checkpoints() -> bool:
    """Let torch.load read numpy's and FastReID's plain data, and nothing else beyond tensors.

    Containers come back as dict or OrderedDict, the only mappings that torch's restricted
    unpickler fills. Executable content stays refused, on torch < 2.6 as well.
    """
    if not source_has(Checkpointer._load_file, "return torch.load(f, map_location="):
        return False
    torch.serialization.add_safe_globals(_harmless_globals())
    Checkpointer._load_file = _load_file
    return True


def _harmless_globals() -> list[Any]:
    core = "numpy._core" if hasattr(np, "_core") else "numpy.core"
    multiarray = importlib.import_module(f"{core}.multiarray")
    scalar_types = np.bool_, np.uint8, np.int8, np.int16, np.int32, np.int64
    float_types = np.float16, np.float32, np.float64
    harmless: list[Any] = [np.ndarray, np.dtype, dict, list, set, int, float, str]
    harmless += [type(np.dtype(kind)) for kind in (*scalar_types, *float_types)]
    harmless.append(codecs.encode)  # numpy's scalars; torch 2.4 allows neither it nor set
    # numpy 2 writes numpy._core, numpy 1 numpy.core; each must read the other's files.
    for package in ("numpy.core.multiarray", "numpy._core.multiarray"):
        for name in ("scalar", "_reconstruct"):
            harmless.append(_named(getattr(multiarray, name), package, name))
    harmless.append(_named(lambda *factory: {}, "collections", "defaultdict"))
    for module in ("fastreid.config.config", "yacs.config"):
        harmless.append(_named(_ordered_dict, module, "CfgNode", class_=True))
    return harmless


def _ordered_dict(*arguments: Any) -> OrderedDict:
    return OrderedDict()


def _named(make: Callable, module: str, name: str, class_: bool = False) -> Any:
    """Return a stand-in for ``module.name`` that calls ``make``, as pickle calls the real one."""
    if class_:
        stand_in: Any = type(name, (), {"__new__": lambda cls, *args: make(*args)})
    else:

        def stand_in(*args: Any) -> Any:
            return make(*args)

    stand_in.__module__ = module
    stand_in.__name__ = stand_in.__qualname__ = name
    return stand_in


@contextlib.contextmanager
def training_arguments_allowed() -> Iterator[None]:
    """Let ``torch.load`` read the argparse.Namespace that many released checkpoints hold."""
    # torch.serialization.safe_globals does the same, from torch 2.5 on.
    allowed = list(torch.serialization.get_safe_globals())
    torch.serialization.add_safe_globals([argparse.Namespace])
    try:
        yield
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(allowed)


def read_file(path: str) -> Any:
    """Read a checkpoint file onto the CPU: tensors, plain data and ``argparse.Namespace`` alone.

    Of a folder of published weights (see :mod:`reid_common.published`) its file is read.

    Raises:
        UserError: no such file, a damaged one, or one that holds more than plain data.
    """
    path = weights_file(path)
    if not os.path.isfile(path):
        raise UserError(f"there is no checkpoint {path!r}; give the path of a .pth file")
    if path.endswith(".safetensors"):
        return _read_safetensors(path)
    with open(path, "rb") as file:
        head = file.read(2)
    if head != b"PK" and not head.startswith(b"\x80"):
        raise UserError(
            f"checkpoint {path} cannot be read: it is no file of torch.save (it begins with "
            f"{head!r}); was it downloaded whole?"
        )
    try:
        with training_arguments_allowed():
            return torch.load(path, map_location=torch.device("cpu"), weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        refused = re.search(r"Unsupported global: GLOBAL (\S+)", str(error))
        if refused:
            raise UserError(
                f"checkpoint {path} holds {refused[1]} objects, which can run code when they are "
                "read; save it anew with tensors and plain data alone"
            ) from error
        if "TorchScript" in str(error):
            raise UserError(
                f"checkpoint {path} is a program (TorchScript), as OpenAI's CLIP files are; if you "
                f"trust it, save its weights alone: torch.save(torch.jit.load({path!r}, "
                "map_location='cpu').state_dict(), 'weights.pth')"
            ) from error
        raise UserError(
            f"checkpoint {path} cannot be read, it is damaged or of another format "
            f"({str(error).splitlines()[0] if str(error) else type(error).__name__}); take another"
        ) from error


def _read_safetensors(path: str) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    check_weights_file(path)
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(f"checkpoint {path} cannot be read: {error}; take another") from error


def unwrapped(content: Any, path: str) -> dict[str, Any]:
    """Return the content of a checkpoint file with its weights under "model".

    "model" is FastReID's, ours and DeiT's place for them, "state_dict" timm's and MoCo's, "teacher"
    DINO's (its student is left out), "model_state" pycls's; one within another is found as well. A
    bare state dict is taken whole, but for what is no tensor.

    Raises:
        UserError: there are no weights in it.
    """
    state = content
    while isinstance(state, dict):
        inner = (state[name] for name in CONTAINERS if isinstance(state.get(name), dict))
        inside = next(inner, None)
        if inside is None:
            break
        state = inside
    if state is not content:
        return {**content, "model": state}
    if isinstance(content, dict):
        tensors = {key: v for key, v in content.items() if isinstance(v, torch.Tensor)}
        if tensors:
            return {"model": tensors}
    keys = list(content)[:5] if isinstance(content, dict) else type(content).__name__
    raise UserError(
        f"checkpoint {path} holds no weights: there is neither a key "
        f"{', '.join(map(repr, CONTAINERS))} nor a bare state dict, but {keys}. Save the state "
        "dict alone, or as {'model': state_dict}"
    )


def _load_file(self: checkpoint.Checkpointer, f: str) -> dict[str, Any]:
    return unwrapped(read_file(f), f)
