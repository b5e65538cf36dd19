"""Attention maps: which patches the features of a model come from.

Sources: Abnar & Zuidema, "Quantifying Attention Flow in Transformers", ACL 2020, section 3 and
equation 1 (attention rollout, the heads averaged); He et al., "TransReID", ICCV 2021, figure 5
(attention of [cls]).

The model runs as it is: hooks see what goes into each attention, and its weights are computed
again from that, because fused attention never has them in memory.

Letters: B images, L tokens, P prefix tokens ([cls], registers), N = h * w patches, k parts, n
patches a part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from reid_common.errors import UserError
from timm.layers import Attention
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ..modeling.backbone import TransReIDBackbone
from ..modeling.jigsaw import jigsaw_parts
from ..modeling.jpm_head import JPMHead
from ..modeling.patch_embed import OverlapPatchEmbed


@dataclass(frozen=True)
class AttentionMaps:
    """Shares of attention, float32; each map sums to at most 1 ([cls] and registers take the rest).

    The parts are NaN where a part does not have the patch, and None without JPM, or where its parts
    are not computed.
    """

    rollout: Tensor  # (B, h, w), what flows from each patch into [cls] after the global branch
    last: Tensor  # (B, h, w), attention of [cls] in the last block of the global branch
    parts: Tensor | None  # (B, k, h, w), the same in the local branch, for each part


def attention_weights(attn: Attention, tokens: Tensor) -> Tensor:
    """Weights softmax(q k^T * scale) of timm's attention, q_norm and k_norm included.

    Of its input (B, L, D): (B, heads, L, L), float32; row i is what token i reads, and sums to 1.
    """
    qkv = attn.qkv(tokens).unflatten(2, (3, attn.num_heads, -1))
    q, k, _ = qkv.permute(2, 0, 3, 1, 4).unbind(0)
    q, k = attn.q_norm(q).float(), attn.k_norm(k).float()
    return (q * attn.scale @ k.transpose(-2, -1)).softmax(dim=-1)


def rollout_step(flow: Tensor | None, attention: Tensor) -> Tensor:
    """One layer of equation 1, with half of a token's flow going through the skip connection.

    Of the flow after the layers below (None below the first) and the attention A, averaged over the
    heads, (B, L, L) each, rows sum to 1: (0.5 A + 0.5 I) @ flow.
    """
    identity = torch.eye(attention.shape[-1], device=attention.device, dtype=attention.dtype)
    mixed = 0.5 * attention + 0.5 * identity
    return mixed if flow is None else mixed @ flow


def part_patches(head: JPMHead, num_patches: int) -> Tensor:
    """Which patches each part has: (k, n) int64 indices into the patches, row by row.

    They come out of the rearrangement itself. A patch may be in a part twice (see
    :func:`transreid.modeling.jigsaw.shuffle_tokens`), and some patches are in none.
    """
    indices = torch.arange(num_patches)[None, :, None]
    parts = jigsaw_parts(
        indices, head.num_parts, head.shift_num, head.shuffle_groups, head.rearrange
    )
    return parts[0, :, :, 0]


def attention_maps(model: nn.Module, batch: Any) -> AttentionMaps:
    """Attention maps of a batch, on the patch grid; see :func:`to_pixels`.

    Args:
        model: a meta-architecture with :class:`TransReIDBackbone`; with :class:`JPMHead` for maps
            of parts. It runs in evaluation mode, without gradients, and is left as it was.
        batch: what the model takes: "images" (B, 3, H, W), pixels 0..255, "camids" and "viewids"
            (B,) where it embeds them.

    Raises:
        UserError: no TransReID backbone, or blocks whose attention is not timm's plain one.
    """
    backbone, head = getattr(model, "backbone", None), getattr(model, "heads", None)
    if not isinstance(backbone, TransReIDBackbone):
        raise UserError(
            f"attention maps need a model with a TransReIDBackbone, not "
            f"{type(model).__name__} with {type(backbone).__name__}"
        )
    blocks, flow, local = list(backbone.blocks), _Flow(), _Flow()
    with ExitStack() as stack:
        stack.enter_context(_evaluating(model))
        if isinstance(head, JPMHead):
            blocks.append(head.global_branch.block)
            stack.enter_context(_on_attention_input(head.local_branch.block, local))
        for block in blocks:
            stack.enter_context(_on_attention_input(block, flow))
        model(batch)
    if flow.layers != len(blocks) or flow.flow is None or flow.last is None:
        raise UserError(
            f"{flow.layers} of {len(blocks)} blocks showed their attention: a compiled model hides "
            "it; build the model with MODEL.COMPILE False"
        )
    prefix, grid = backbone.num_prefix_tokens, backbone.patch_embed.grid_size
    parts = None
    if isinstance(head, JPMHead) and local.last is not None:
        weights = local.last[:, prefix:].unflatten(0, (-1, head.num_parts))
        indices = part_patches(head, backbone.patch_embed.num_patches)
        parts = _to_patches(weights, indices, grid[0] * grid[1]).unflatten(2, grid)
    return AttentionMaps(
        rollout=flow.flow[:, 0, prefix:].unflatten(1, grid),
        last=flow.last[:, prefix:].unflatten(1, grid),
        parts=parts,
    )


def to_pixels(maps: Tensor, patch_embed: OverlapPatchEmbed) -> Tensor:
    """Maps (..., h, w) on the patch grid -> (..., H, W) in pixels of the model's input.

    A value stands at the centre of its patch, S pixels from the next; between centres it is
    interpolated, beyond the outermost ones it stays. Where a map has NaN, a pixel takes the value
    of the nearest centre instead, so that borders of parts stay sharp.
    """
    axes = []
    embed = patch_embed
    sides = zip(embed.image_size, embed.grid_size, embed.patch_size, embed.stride, strict=True)
    for length, count, size, step in sides:
        centres = (torch.arange(length, device=maps.device) - (size - 1) / 2) / step
        # grid_sample's coordinates: -1 is the first centre, 1 the last.
        axes.append(centres.clamp(0, count - 1) * 2 / max(count - 1, 1) - 1)
    rows, columns = torch.meshgrid(*axes, indexing="ij")
    flat = maps.reshape(1, -1, *maps.shape[-2:]).float()
    pixels = F.grid_sample(
        flat,
        torch.stack([columns, rows], dim=-1)[None],
        mode="nearest" if bool(flat.isnan().any()) else "bilinear",
        padding_mode="border",
        align_corners=True,
    )
    return pixels.reshape(*maps.shape[:-2], *patch_embed.image_size)


class _Flow:
    """Rollout over the blocks of one branch, in the order in which they run."""

    def __init__(self) -> None:
        self.layers = 0
        self.flow: Tensor | None = None
        self.last: Tensor | None = None

    def __call__(self, attn: Attention, tokens: Tensor) -> None:
        attention = attention_weights(attn, tokens).mean(dim=1)
        self.flow, self.last = rollout_step(self.flow, attention), attention[:, 0]
        self.layers += 1


def _to_patches(weights: Tensor, indices: Tensor, num_patches: int) -> Tensor:
    """Weights (B, k, n) of the patches ``indices`` (k, n) -> (B, k, N), NaN elsewhere."""
    indices = indices.to(weights.device).expand_as(weights)
    maps = weights.new_zeros(*weights.shape[:2], num_patches).scatter_add(2, indices, weights)
    seen = torch.zeros_like(maps, dtype=torch.bool).scatter(2, indices, True)
    return maps.masked_fill(~seen, torch.nan)


def _on_attention_input(
    block: nn.Module, record: Callable[[Attention, Tensor], None]
) -> RemovableHandle:
    """Call ``record`` with the block's attention and its input (B, L, D) whenever it runs."""
    attn = getattr(block, "attn", None)
    if type(attn) is not Attention:
        raise UserError(
            f"attention maps need blocks with timm's plain attention, not {type(block).__name__} "
            f"with {type(attn).__name__}; choose another MODEL.BACKBONE.TIMM_NAME"
        )
    if type(block) is Block:
        # For [cls] alone, `cls_of_block` calls the norm, but not the attention module.
        norm = cast(nn.Module, block.norm1)
        return norm.register_forward_hook(lambda _module, _inputs, out: record(attn, out))
    return attn.register_forward_pre_hook(lambda _module, inputs: record(attn, inputs[0]))


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; afterwards every module is in the mode it was in."""
    modes: Mapping[nn.Module, bool] = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes.items():
            module.training = training
