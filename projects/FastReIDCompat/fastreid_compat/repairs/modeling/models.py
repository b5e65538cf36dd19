"""Models that leave the caller's batch alone and run on a CPU.

Shapes: images (B, C, H, W) with pixels in 0..255, targets (B,) with 0-based identities.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from fastreid.engine import defaults
from fastreid.layers import any_softmax, batch_norm
from fastreid.modeling.meta_arch import baseline, mgn
from reid_common.errors import UserError

from ...registry import Original, fix, replaces, source_has

logger = logging.getLogger(__name__)


def as_image_batch(images: Any, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """Return ``images`` as a floating-point tensor (B, C, H, W) on ``device``.

    Args:
        images: tensor or numpy array (B, C, H, W), of bytes or of floating-point numbers.
        device: where the result is wanted.
        dtype: what integers are converted to; floating-point images keep their type.

    Raises:
        UserError: it is no batch of images.
    """
    if isinstance(images, np.ndarray):
        images = torch.tensor(images)
    if not isinstance(images, torch.Tensor) or images.dim() != 4:
        shape = tuple(images.shape) if isinstance(images, torch.Tensor) else type(images).__name__
        raise UserError(
            "The model takes images as a tensor or array (batch, channels, height, width), got "
            f"{shape}. A picture (height, width, channels) in RGB order becomes one with "
            "image[None].transpose(0, 3, 1, 2)."
        )
    images = images.to(device)
    return images if images.is_floating_point() else images.to(dtype)


def preprocess_image(self: Any, batched_inputs: Any) -> torch.Tensor:
    """Return normalised images (B, C, H, W) of a batch: a dictionary, a tensor or an array."""
    is_batch = isinstance(batched_inputs, Mapping)
    images = batched_inputs["images"] if is_batch else batched_inputs
    images = as_image_batch(images, self.pixel_mean.device, self.pixel_mean.dtype)
    return (images - self.pixel_mean) / self.pixel_std


@fix(
    where="modeling/meta_arch/baseline.py:130, modeling/meta_arch/mgn.py:256",
    symptom="the caller's images are normalised in place, TEST.FLIP normalises twice; uint8 and "
    "numpy images raise",
)
def images_unchanged() -> bool:
    """Normalise into a new tensor, from bytes too, on the model's device."""
    changed = False
    for cls in (baseline.Baseline, mgn.MGN):
        if source_has(cls.preprocess_image, "images.sub_(self.pixel_mean)"):
            cls.preprocess_image = preprocess_image
            changed = True
    return changed


@fix(
    where="engine/defaults.py:151",
    symptom="DefaultPredictor: 'numpy.ndarray' object has no attribute 'to'",
)
@replaces(defaults.DefaultPredictor, "__call__", "image.to(self.model.device)")
def predictor_inputs(original: Original, self: Any, image: Any) -> torch.Tensor:
    """Take arrays and tensors of bytes or floating-point numbers, and leave them as they are."""
    return original(self, as_image_batch(image, self.model.device, torch.float32))


@fix(
    where="layers/any_softmax.py:51",
    symptom="CLS_LAYER ArcSoftmax: NaN losses or gradients when a feature meets its class weight",
)
@replaces(any_softmax.ArcSoftmax, "forward", "logits.acos_()")
def arc_softmax_clamped(
    original: Original, self: Any, logits: torch.Tensor, targets: torch.Tensor
) -> torch.Tensor:
    """Keep cosines the smallest step away from ±1, where the gradient of acos is infinite."""
    limit = 1 - torch.finfo(logits.dtype).eps
    return original(self, logits.clamp(-limit, limit), targets)


@functools.cache
def _warn_about_sync_bn() -> None:
    logger.warning("syncBN needs GPUs: on the CPU each process normalises with its own batch")


@fix(
    where="layers/batch_norm.py:26",
    symptom="NORM syncBN on several CPU processes: expected input tensor to be on GPU",
)
def sync_bn_on_cpu() -> bool:
    """Normalise on the CPU as plain batch normalisation does; GPUs synchronise as before."""
    cls = batch_norm.SyncBatchNorm
    if "forward" in vars(cls):
        return False

    def forward(self: Any, input: torch.Tensor) -> torch.Tensor:
        if input.device.type != "cpu":
            return super(cls, self).forward(input)
        if self.training:
            _warn_about_sync_bn()
        return torch.nn.modules.batchnorm._BatchNorm.forward(self, input)

    cls.forward = forward
    return True
