"""Augmentation and tensor conversion on today's torchvision, numpy and torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from fastreid.config import CfgNode
from fastreid.data.transforms import autoaugment, build, functional
from fastreid.utils.registry import Registry
from PIL import Image
from reid_common.late_imports import LateModule

from ...registry import Original, fix, rebind, replace, replaces, source_has

if TYPE_CHECKING:
    import torchvision.transforms as tv
else:
    tv = LateModule("torchvision.transforms")

# Pipelines for INPUT.TRANSFORM: (cfg, is_train) -> (PIL image -> tensor (3, H, W), float32, pixels
# 0..255, which the model normalises). Building one raises UserError where the config asks for what
# it cannot do: runs are refused that way before they start.
TRANSFORM_REGISTRY = Registry("TRANSFORM")
TRANSFORM_REGISTRY._obj_map["FastReID"] = build.build_transforms


class _Transforms:
    """``torchvision.transforms`` that takes RandomAffine's keywords of old as well."""

    def __getattr__(self, name: str) -> Any:
        return getattr(tv, name)

    @staticmethod
    def RandomAffine(
        *args: Any, resample: Any = None, fillcolor: Any = None, **kwargs: Any
    ) -> tv.RandomAffine:
        """Build torchvision's RandomAffine; ``resample=False`` meant nearest neighbour."""
        if resample is not None:
            kwargs.setdefault("interpolation", tv.InterpolationMode.NEAREST)
            if resample:
                kwargs["interpolation"] = resample
        if fillcolor is not None:
            kwargs.setdefault("fill", fillcolor)
        return tv.RandomAffine(*args, **kwargs)


@fix(
    where="data/transforms/build.py:81",
    since="torchvision 0.12",
    symptom="INPUT.AFFINE.ENABLED: TypeError: unexpected keyword argument 'resample'",
)
def random_affine() -> bool:
    """Translate RandomAffine's former keywords."""
    if isinstance(build.T, _Transforms) or not source_has(build.build_transforms, "resample=False"):
        return False
    build.T = _Transforms()
    return True


@fix(
    where="data/transforms/build.py:13",
    symptom="a project cannot bring its own order of augmentation, nor another resize for tests",
)
@replaces(build, "build_transforms", "do_autoaug = cfg.INPUT.AUTOAUG.ENABLED")
def transforms_by_name(
    _: Original, cfg: CfgNode, is_train: bool = True
) -> Callable[[Any], torch.Tensor]:
    """Look INPUT.TRANSFORM up in a registry, where "FastReID" is what there always was."""
    return TRANSFORM_REGISTRY.get(transform_name(cfg))(cfg, is_train)


def transform_name(cfg: CfgNode) -> str:
    """INPUT.TRANSFORM; "FastReID" for configs that were saved without that key."""
    return cfg.INPUT.get("TRANSFORM", "FastReID")


@fix(
    where="data/transforms/functional.py:40-46",
    since="numpy 2.0, torch 2.0",
    symptom="images of modes 1, I, F and I;16: ValueError: Unable to avoid copy; a deprecation"
    " warning from every worker for all others",
)
def image_to_tensor() -> bool:
    """Convert images through numpy arrays of their own."""
    return replace(functional.to_tensor, to_tensor, "copy=False")


def to_tensor(pic: Image.Image | np.ndarray) -> torch.Tensor:
    """Convert an image to a tensor (C, H, W), values as they are.

    Args:
        pic: PIL image, or array (H, W) or (H, W, C). 8-bit values give float32 in 0..255, so does
            mode 1 (0 and 255); modes I, F and I;16 give int32, float32 and int16; other arrays
            keep their type.
    """
    if isinstance(pic, np.ndarray):
        if pic.ndim not in (2, 3):
            raise ValueError(f"an image is (H, W) or (H, W, C), this array is {pic.shape}")
        array = pic if pic.flags.writeable else pic.copy()
    elif pic.mode == "1":
        array = np.array(pic, np.uint8) * 255
    elif pic.mode == "I;16":
        array = np.array(pic).astype(np.int16)
    else:
        array = np.array(pic)
    if array.ndim == 2:
        array = array[:, :, None]
    image = torch.from_numpy(array.transpose(2, 0, 1))
    if image.dtype == torch.uint8:
        return image.float().contiguous()
    return image if isinstance(pic, np.ndarray) else image.contiguous()


@fix(
    where="data/transforms/autoaugment.py:497,532",
    symptom="auto_augment_transform: TypeError: AutoAugment takes 1 positional argument",
)
@replaces(autoaugment.AutoAugment, "__init__", "def __init__(self):")
def auto_augment_policy(_: Original, self: Any, policy: list[Any] | None = None) -> None:
    """Let AutoAugment take a policy; without one it is ImageNet's, as before."""
    self.policy = autoaugment.auto_augment_policy() if policy is None else policy


@fix(
    where="data/transforms/autoaugment.py:157",
    since="today's Pillow",
    symptom="auto_augment_transform with policy v0: ValueError: bits must be between 1 and 8",
)
def posterize_to_nothing() -> bool:
    """Keep 0 bits of each value where the policy says so: a black image, as formerly."""
    broken = autoaugment.posterize
    if not source_has(broken, "ImageOps.posterize(img, bits_to_keep)"):
        return False
    for name, function in autoaugment.NAME_TO_OP.items():
        if function is broken:
            autoaugment.NAME_TO_OP[name] = posterize
    rebind(broken, posterize)
    return True


def posterize(img: Image.Image, bits_to_keep: int, **_: Any) -> Image.Image:
    """Keep the highest ``bits_to_keep`` bits (0..8) of each value."""
    if bits_to_keep >= 8:
        return img
    mask = 256 - 2 ** (8 - bits_to_keep)
    return img.point([value & mask for value in range(256)] * len(img.getbands()))


@fix(
    where="data/transforms/autoaugment.py:740",
    symptom="augment_and_mix_transform: images that are not square cannot be broadcast together",
)
@replaces(autoaugment.AugMixAugment, "_apply_basic", "img_shape = img.size[0], img.size[1]")
def augment_and_mix(
    _: Original, self: Any, img: Image.Image, weights: np.ndarray, m: float
) -> Image.Image:
    """Mix in arrays of (H, W, C); FastReID allocates (W, H, C)."""
    mixed = np.zeros_like(np.asarray(img), dtype=np.float32)
    for weight in weights:
        depth = self.depth if self.depth > 0 else np.random.randint(1, 4)
        augmented = img
        for op in np.random.choice(self.ops, depth, replace=True):
            augmented = op(augmented)
        mixed += weight * np.asarray(augmented, dtype=np.float32)
    chains = Image.fromarray(mixed.clip(0, 255).astype(np.uint8))
    return Image.blend(img, chains, float(m))
