"""The model itself, in PyTorch: eager, in float32 or under autocast."""

from __future__ import annotations

import contextlib

import torch
from torch import Tensor, nn

from ...modeling.features import features_of
from .backend import TORCH

PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


class TorchModel:
    """See :class:`~.backend.Backend`.

    Args:
        model: in eval mode, on ``device``.
        device: where it is.
        precision: a name of :data:`PRECISIONS`.
        flip: average the features of each image and its mirror image (TEST.FLIP).
    """

    backend = TORCH

    def __init__(
        self, model: nn.Module, device: torch.device, precision: str = "fp32", flip: bool = False
    ) -> None:
        self.model, self.device, self.precision, self.flip = model, device, precision, flip

    @torch.no_grad()
    def __call__(self, images: Tensor, camids: Tensor, viewids: Tensor) -> Tensor:
        """Features (B, D)."""
        batch = {"camids": camids.to(self.device), "viewids": viewids.to(self.device)}
        batch["images"] = images.to(self.device, non_blocking=True)
        dtype = PRECISIONS[self.precision]
        lower = torch.autocast(self.device.type, dtype=dtype) if dtype else contextlib.nullcontext()
        with lower:
            return features_of(self.model, batch, self.flip).cpu()
