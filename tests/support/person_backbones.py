"""Released person backbones: golden features, and state dicts made from their names and shapes.

No weights are stored: a tensor is drawn from a generator that its name seeds, so that the released
code and ours had the same ones.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from golden_models import GOLDEN
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from transreid import BNNeckHead, TransReID, TransReIDBackbone

SMALL = ("sie_embed", "pos_embed", "cls_token")


class PersonBackbone:
    """One golden file: ``meta``, ``keys`` (names and shapes by state dict) and ``arrays``."""

    def __init__(self, name: str) -> None:
        with np.load(GOLDEN / f"person_backbone_{name}.npz") as file:
            self.meta = json.loads(str(file["meta"]))
            self.keys = json.loads(str(file["keys"]))
            given = {key: file[key] for key in file.files if key not in ("meta", "keys")}
        self.arrays = {key: torch.from_numpy(array) for key, array in given.items()}

    def state(self, name: str) -> dict[str, Any]:
        """The state dict ``name``, or the dict of state dicts."""
        return self._made(self.keys[name])

    def _made(self, shapes: Mapping[str, Any]) -> dict[str, Any]:
        return {
            key: self._made(shape) if isinstance(shape, dict) else self._tensor(key, shape)
            for key, shape in shapes.items()
        }

    def _tensor(self, name: str, shape: Sequence[int]) -> Tensor:
        if name.endswith("relative_position_index"):
            return self.arrays["relative_position_index"]
        return drawn(name, shape)

    def images(self, count: int, size: Sequence[int]) -> Tensor:
        """Normalised images (count, 3, H, W)."""
        seed = zlib.crc32(self.meta["tag"].encode())
        pixels = np.random.default_rng(seed).integers(0, 256, (count, 3, *size), dtype=np.uint8)
        return (torch.from_numpy(pixels).float() / 255 - 0.5) / 0.5


def drawn(name: str, shape: Sequence[int]) -> Tensor:
    """A tensor that its name alone determines, of a size that keeps features in range."""
    if not shape:
        return torch.tensor(0)
    generator = np.random.default_rng(
        zlib.crc32(name.replace("last_layer2", "last_layer").encode())
    )
    a = torch.from_numpy(generator.standard_normal(shape).astype(np.float32))
    if name.endswith("running_var"):
        return 0.5 + a.abs()
    if len(shape) == 1:
        return 1 + 0.1 * a if name.endswith("weight") else 0.05 * a
    return 0.1 * a if any(part in name for part in SMALL) else a / math.sqrt(math.prod(shape[1:]))


def spread(features: Tensor, expected: Tensor) -> float:
    """Largest deviation, in standard deviations of what is expected."""
    return float((features - expected).abs().max() / expected.std())


def small_vit(meta: Mapping[str, Any], **options: Any) -> VisionTransformer:
    """The plain ViT of a golden file; weights are random."""
    sizes = {"embed_dim": meta["dim"], "depth": meta["depth"], "num_heads": meta["heads"]}
    norm = partial(nn.LayerNorm, eps=meta["ln_eps"])
    return VisionTransformer(
        img_size=224, patch_size=meta["patch"], num_classes=0, norm_layer=norm, **sizes, **options
    )


def model_of(
    vit: VisionTransformer,
    size: Sequence[int],
    stride: int = 16,
    head: nn.Module | None = None,
    pixels: float = 127.5,
    **options: Any,
) -> TransReID:
    """A whole model in eval mode; ``options`` are of TransReIDBackbone."""
    backbone = TransReIDBackbone(vit, size, (stride, stride), **options)
    head = head or BNNeckHead(feat_dim=vit.embed_dim, num_classes=0)
    mean = [pixels] * 3
    parts = {"backbone": backbone, "heads": head, "pixel_mean": mean, "pixel_std": mean}
    return TransReID(**parts, loss_kwargs={}).eval()


def pixels_of(images: Tensor) -> Tensor:
    """Normalised images back as pixels 0..255, which models take."""
    return images * 127.5 + 127.5
