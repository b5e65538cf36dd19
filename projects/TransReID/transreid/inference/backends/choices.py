"""Choices that were measured before, kept in the user's cache: one small JSON file each.

The name of a file is the digest of what the choice depends on: weights, config, processor, threads,
versions, batch, candidates.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import re
from collections.abc import Mapping
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from reid_common.digests import digest
from reid_common.errors import UserError
from reid_common.files import replacing

from .measuring import Measured

PLACE = "TRANSREID_CACHE"  # environment variable
VERSIONED = ("torch", "timm", "onnx", "onnxruntime", "openvino")

logger = logging.getLogger(__name__)


def cache_folder() -> Path:
    """$TRANSREID_CACHE, else fastreid-transreid in $XDG_CACHE_HOME or ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get(PLACE) or Path(base) / "fastreid-transreid")


def machine(device: torch.device) -> dict[str, Any]:
    """What the speed of this machine depends on."""
    info = Path("/proc/cpuinfo")
    text = info.read_text() if info.exists() else ""
    found = (re.search(rf"^{name}\s*: (.*)$", text, re.M) for name in ("model name", "flags"))
    name, flags = (match[1] if match else "" for match in found)
    cuda = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    return {
        "processor": name or platform.processor() or platform.machine(),
        "flags": digest([flags]),
        "device": cuda or device.type,
        "threads": torch.get_num_threads(),
        "versions": {name: _version(name) for name in VERSIONED},
    }


def _version(name: str) -> str:
    if name == "torch":
        return torch.__version__  # with the build: +cpu, +cu130
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def graph_name(about: Mapping[str, Any], device: torch.device) -> str:
    """Name in the cache of the graph of a model, of which ``about`` says what it depends on."""
    return Choice({**about, "versions": machine(device)["versions"]}).path.stem


class Choice:
    """The place in the cache of one choice.

    Args:
        key: what it depends on, as JSON can hold it.

    Attributes:
        path: of its file.
    """

    def __init__(self, key: Mapping[str, Any]) -> None:
        self.key = dict(key)
        name = digest([json.dumps(self.key, sort_keys=True)])
        self.path = cache_folder() / "choices" / f"{name[:32]}.json"

    def read(self) -> tuple[str, str] | None:
        """(backend, precision) that was chosen, or None; a file that cannot be read is none."""
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
            if content["key"] == self.key:
                return str(content["backend"]), str(content["precision"])
        except (OSError, ValueError, KeyError, TypeError):
            pass
        return None

    def write(self, backend: str, precision: str, rows: list[Measured]) -> None:
        """Keep a choice; where the cache cannot be written, it is measured again next time."""
        content = {
            "backend": backend,
            "precision": precision,
            "measured": [asdict(row) for row in rows],
            "key": self.key,
        }
        try:
            with replacing(self.path, shared=True) as temporary:
                temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        except UserError as error:
            logger.warning("the choice is not kept: %s", error)
