"""The released augmentation, INPUT.TRANSFORM: TransReID; TransReIDBicubic is HAP's.

Source: He et al., "TransReID", ICCV 2021, section 4.1, and the released code. Training: resize
(bicubic), flip, pad and random crop, to a tensor, random erasing. Test: resize (bilinear).

FastReID's own pipeline pads before it flips, resizes with bicubic interpolation at test time and
erases with one colour. Here as there pixels are 0..255 and the model normalises them; the released
code erases after normalisation, with noise N(0, 1). So noise is scaled by MODEL.PIXEL_STD and
shifted by MODEL.PIXEL_MEAN, to be N(0, 1) once the model has normalised. HAP (Yuan et al., NeurIPS
2023) has the same, but for a bicubic resize at test time.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from fastreid.config import CfgNode
from fastreid.data.transforms import ToTensor
from fastreid_compat.repairs.loading.transforms import TRANSFORM_REGISTRY, tv
from PIL import Image
from reid_common.errors import UserError

from .erasing import BytesToDevice, NoiseErasing

# Switches of FastReID's pipeline that have no place in the released one.
NOT_RELEASED = ("CROP", "CJ", "AFFINE", "AUTOAUG", "AUGMIX", "RPT")


def check_steps(cfg: CfgNode, transform: str) -> None:
    """Raise UserError where a step of FastReID's is on that the pipeline ``transform`` lacks."""
    for name in NOT_RELEASED:
        if cfg.INPUT[name].ENABLED:
            raise UserError(
                f"INPUT.{name}.ENABLED is True, but INPUT.TRANSFORM {transform} has no such step; "
                f"set INPUT.{name}.ENABLED False, or INPUT.TRANSFORM FastReID"
            )


def build_transreid_transforms(
    cfg: CfgNode, is_train: bool, at_test: str = "bilinear"
) -> Callable[[Image.Image], Any]:
    """Build the released pipeline for training or test.

    Args:
        cfg: reads INPUT.SIZE_TRAIN or SIZE_TEST and, for training, INPUT.FLIP, PADDING and REA
            (but for REA.VALUE), INPUT.ON_DEVICE and MODEL.PIXEL_MEAN and PIXEL_STD.
        is_train: whether to augment.
        at_test: interpolation of the resize at test time, as torchvision calls it.

    Returns:
        PIL image (RGB) -> (3, H, W), float32; pixels 0..255, noise beyond. With ON_DEVICE, for
        training, a :class:`.erasing.BytesToDevice`.

    Raises:
        UserError: an augmentation is on that the released pipeline does not have.
    """
    options = cfg.INPUT
    check_steps(cfg, options.get("TRANSFORM", "TransReID"))
    if not is_train:
        resize = tv.Resize(options.SIZE_TEST, tv.InterpolationMode(at_test))
        return tv.Compose([resize, ToTensor()])
    size = list(options.SIZE_TRAIN)
    steps: list[Callable] = [tv.Resize(size, tv.InterpolationMode.BICUBIC)]
    if options.FLIP.ENABLED:
        steps.append(tv.RandomHorizontalFlip(options.FLIP.PROB))
    if options.PADDING.ENABLED:
        steps.append(tv.Pad(options.PADDING.SIZE, padding_mode=options.PADDING.MODE))
        steps.append(tv.RandomCrop(size))
    colours = cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD
    erase = NoiseErasing(options.REA.PROB, *colours) if options.REA.ENABLED else None
    if options.get("ON_DEVICE", False):
        return BytesToDevice(tv.Compose(steps), erase)
    return tv.Compose([*steps, ToTensor(), *([erase] if erase else [])])


TRANSFORM_REGISTRY._do_register("TransReID", build_transreid_transforms)
TRANSFORM_REGISTRY._do_register(
    "TransReIDBicubic", functools.partial(build_transreid_transforms, at_test="bicubic")
)
