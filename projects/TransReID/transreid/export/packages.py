"""Packages that not every installation has."""

from __future__ import annotations

import functools
import importlib
from typing import Any

from reid_common.errors import UserError

ONNX, OPENVINO = "pip install onnx onnxruntime", "pip install openvino"


def package(name: str, need: str, install: str) -> Any:
    """Import a package.

    Args:
        name: of the package.
        need: what needs it, as the message begins.
        install: command that installs it.

    Raises:
        UserError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(
            f"{need} needs the package {name} ({error}); install it with: {install}"
        ) from error


@functools.cache
def openvino_core(openvino: Any) -> Any:
    """OpenVINO's Core: one for the process, never closed.

    A Core gives the thread that first uses it a stack for signals, and puts the one before back
    when it goes (SigAltStackSetup of its CPU plug-in). Of two Cores the first may go first: the
    second then puts back what is freed, and the next signal that Python handles, Ctrl-C or the end
    of a loader's worker, ends the process with a segmentation fault (seen with OpenVINO 2026.4).

    Args:
        openvino: the package, as :func:`package` imports it.
    """
    return openvino.Core()
