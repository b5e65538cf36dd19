"""Files of torch.export (.pt2): a model as PyTorch's own graph, without this package's classes."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
import torch
from reid_common.errors import UserError

from ...export.torch_export import PROPERTIES
from .backend import TORCH


class TorchProgram:
    """Runs a .pt2 file; see :class:`~.backend.Runner`.

    Args:
        path: the file, which exists.

    Raises:
        UserError: a file that torch.export did not write, or without our metadata.
    """

    backend = TORCH

    def __init__(self, path: str) -> None:
        extra = {PROPERTIES: ""}
        try:
            self._module = torch.export.load(path, extra_files=extra).module()
        except Exception as error:  # of the zip, of JSON, of versions
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise UserError(f"{path!r} is no file of torch.export: {reason}") from error
        text = extra[PROPERTIES]
        self.metadata: dict[str, str] = json.loads(text) if text else {}
        self.precision = self.metadata.get("precision", "fp32")
        self.inputs = json.loads(self.metadata.get("inputs", '["images"]'))
        self.batch = int(self.metadata.get("batch", 0))

    @torch.no_grad()
    def run(self, feeds: Mapping[str, np.ndarray]) -> np.ndarray:
        """Features (B, D)."""
        return self._module(*(torch.from_numpy(feeds[name]) for name in self.inputs)).numpy()
