"""ViTs by name: those of timm, and the released 8-layer "vit_small", registered beside them.

Source: the names of timm; He et al., "TransReID", ICCV 2021, released code, for "vit_small": unlike
today's ViT-S it has D 768, depth 8, 8 heads, an MLP of 3 D, no qkv bias and attention scaled by
768^-0.5 instead of 96^-0.5.
"""

from __future__ import annotations

import difflib
from functools import partial
from typing import Any, cast

import timm
from reid_common.errors import UserError
from timm.layers import PatchEmbed
from timm.layers.pos_embed_sincos import RotaryEmbeddingDinoV3
from timm.models import register_model
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn


class QueryScale(nn.Module):
    """Multiply queries by a constant, in the place of an attention's ``q_norm``.

    Fused attention scales by head_dim^-0.5 and takes no other scale through timm's module: the
    factor is the wanted scale divided by it.
    """

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def extra_repr(self) -> str:
        """The factor, where the model is printed."""
        return f"{self.factor:g}"

    def forward(self, queries: Tensor) -> Tensor:
        """Queries (B, heads, L, head_dim), scaled."""
        return queries * self.factor


@register_model
def vit_small_8l_transreid(pretrained: bool = False, **kwargs: Any) -> VisionTransformer:
    """The "vit_small" of the released TransReID configs (8 layers, 768 dimensions).

    Raises:
        RuntimeError: ``pretrained``; its ImageNet weights are a file of old timm releases.
    """
    if pretrained:
        raise RuntimeError(
            "there is no download of vit_small_8l_transreid; its ImageNet weights are the file "
            "vit_small_p16_224-15ec54c9.pth of timm's early releases"
        )
    for name in ("pretrained_cfg", "pretrained_cfg_overlay", "cache_dir"):
        kwargs.pop(name, None)
    sizes: dict[str, Any] = {"embed_dim": 768, "depth": 8, "num_heads": 8, "mlp_ratio": 3.0}
    sizes |= {"qkv_bias": False, "norm_layer": partial(nn.LayerNorm, eps=1e-6)}
    vit: Any = VisionTransformer(**{**sizes, **kwargs})
    for block in vit.blocks:
        block.attn.q_norm = QueryScale(768**-0.5 / block.attn.scale)
    return vit


def create_vit(name: str, num_blocks: int = 0, **options: Any) -> VisionTransformer:
    """Create a plain ViT by its timm name, with random weights and without classifier.

    Args:
        name: MODEL.BACKBONE.TIMM_NAME.
        num_blocks: keep only as many blocks, 0 = all.
        **options: of timm's VisionTransformer, as ``drop_path_rate``.

    Raises:
        UserError: no such name, or a model that this package cannot work with.
    """
    if not timm.is_model(name):
        known = timm.list_models(["vit_*", "deit*"])
        similar = difflib.get_close_matches(name, known, n=5)
        raise UserError(
            f"timm {timm.__version__} has no model {name!r} (MODEL.BACKBONE.TIMM_NAME); similar: "
            f"{', '.join(similar) or 'none'}"
        )
    if num_blocks < 0:
        raise UserError(
            f"MODEL.BACKBONE.NUM_BLOCKS is {num_blocks}; set the number of blocks to keep, or 0 "
            "for all"
        )
    if num_blocks:
        options["depth"] = num_blocks
    try:
        created = timm.create_model(name, num_classes=0, global_pool="token", **options)
    except (AssertionError, TypeError) as error:  # no [cls] token, or no ViT at all
        raise UserError(
            f"MODEL.BACKBONE.TIMM_NAME: {name} is no plain ViT with a [cls] token ({error}); "
            "choose one, such as vit_base_patch16_224"
        ) from error
    return plain_vit(created)


def rotary(vit: nn.Module) -> bool:
    """Whether this is timm's DINOv3: class Eva, positions by rotation of queries and keys alone."""
    rope = getattr(vit, "rope", None)
    return isinstance(vit, Eva) and isinstance(rope, RotaryEmbeddingDinoV3) and not vit.rope_mixed


def plain_vit(vit: nn.Module) -> VisionTransformer:
    """Return ``vit`` if it is a plain ViT with [cls] and learnt positions, or timm's DINOv3.

    Raises:
        UserError: any other model.
    """
    # A hybrid's patches come from a CNN, and some ViTs normalise their patches.
    patches = getattr(vit, "patch_embed", None)
    plain = type(patches) is PatchEmbed and isinstance(patches.norm, nn.Identity)
    if plain and rotary(vit) and vit.pos_embed is None and vit.cls_token is not None:
        return cast(VisionTransformer, vit)
    if not isinstance(vit, VisionTransformer) or not plain:
        raise UserError(
            f"MODEL.BACKBONE.TIMM_NAME gives a {type(vit).__name__}; TransReID needs a plain ViT "
            "with one convolution as patch embedding, such as vit_base_patch16_224 or "
            "deit_small_patch16_224"
        )
    if vit.cls_token is None or vit.pos_embed is None:
        raise UserError(
            "this ViT of timm has no [cls] token or no learnt position embedding, which TransReID "
            "needs; choose another MODEL.BACKBONE.TIMM_NAME, such as vit_base_patch16_224"
        )
    return vit
