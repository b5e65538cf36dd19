"""Packages that not every installation has."""

from __future__ import annotations

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
