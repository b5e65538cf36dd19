"""The released augmentation, INPUT.TRANSFORM: ClusterContrast.

Source: the released code of Dai et al. (2021) and TransReID-SSL. Training: resize (bicubic), flip,
pad and random crop, random erasing of 2 to 40% of the area with one colour; test: resize (bicubic).
FastReID's pipeline erases up to 33% and pads before it flips.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastreid.config import CfgNode
from fastreid.data.transforms import ToTensor
from fastreid_compat.repairs.loading.transforms import TRANSFORM_REGISTRY, tv
from PIL import Image
from torch import Tensor
from transreid.data.transforms import check_steps

ERASED_AREA, ERASED_ASPECT = (0.02, 0.4), (0.3, 1 / 0.3)


def build_cluster_transforms(cfg: CfgNode, is_train: bool) -> Callable[[Image.Image], Tensor]:
    """Build the released pipeline for training or test.

    Args:
        cfg: reads INPUT.SIZE_TRAIN or SIZE_TEST and, for training, INPUT.FLIP, PADDING and REA.
            REA.VALUE is the colour before the model normalises, 0..255.
        is_train: whether to augment.

    Returns:
        PIL image (RGB) -> (3, H, W), float32, 0..255.

    Raises:
        UserError: an augmentation is on that this pipeline does not have.
    """
    options, bicubic = cfg.INPUT, tv.InterpolationMode.BICUBIC
    check_steps(cfg, "ClusterContrast")
    if not is_train:
        return tv.Compose([tv.Resize(options.SIZE_TEST, bicubic), ToTensor()])
    steps: list[Any] = [tv.Resize(options.SIZE_TRAIN, bicubic)]
    if options.FLIP.ENABLED:
        steps.append(tv.RandomHorizontalFlip(options.FLIP.PROB))
    if options.PADDING.ENABLED:
        steps.append(tv.Pad(options.PADDING.SIZE, padding_mode=options.PADDING.MODE))
        steps.append(tv.RandomCrop(options.SIZE_TRAIN))
    steps.append(ToTensor())
    if options.REA.ENABLED:
        value = list(options.REA.VALUE)
        erase = tv.RandomErasing(options.REA.PROB, ERASED_AREA, ERASED_ASPECT, value)
        steps.append(erase)
    return tv.Compose(steps)


TRANSFORM_REGISTRY._do_register("ClusterContrast", build_cluster_transforms)
