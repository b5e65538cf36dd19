"""The last block, for [cls] alone.

Of the last block of a branch only the [cls] token is used: keys and values are needed for all
tokens, but query, projection and MLP for [cls] only. The result is the same as ``block(tokens)[:,
0]`` (the order of floating-point sums apart), with about a quarter of the work.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from timm.layers import Attention


def cls_of_block(block: nn.Module, tokens: Tensor, **rope: Tensor) -> Tensor:
    """[cls] (B, D) after a transformer block, equal to ``block(tokens, **rope)[:, 0]``.

    Args:
        block: timm's pre-norm ``Block``; any other block is run in full.
        tokens: (B, L, D), [cls] first.
        **rope: rotary positions, for blocks that take them.
    """
    from timm.layers import Attention  # late: timm takes seconds to import
    from timm.models.vision_transformer import Block

    if type(block) is not Block or type(block.attn) is not Attention:
        return block(tokens, **rope)[:, 0]
    cls = tokens[:, :1]
    attended = _cls_attention(block.attn, block.norm1(tokens))
    cls = cls + block.drop_path1(block.ls1(attended))
    cls = cls + block.drop_path2(block.ls2(block.mlp(block.norm2(cls))))
    return cls[:, 0]


def _cls_attention(attn: Attention, x: Tensor) -> Tensor:
    """Attention of [cls] over all tokens: x (B, L, D) -> (B, 1, D)."""
    batch, length, _ = x.shape
    width = attn.qkv.out_features // 3
    heads, head_dim = attn.num_heads, width // attn.num_heads
    weight, bias = attn.qkv.weight, attn.qkv.bias
    cls = x[:, :1]
    q = F.linear(cls, weight[:width], None if bias is None else bias[:width])
    kv = F.linear(x, weight[width:], None if bias is None else bias[width:])
    q = attn.q_norm(q.view(batch, 1, heads, head_dim).transpose(1, 2))
    k, v = kv.view(batch, length, 2, heads, head_dim).permute(2, 0, 3, 1, 4).unbind(0)
    # Its own scale, head_dim^-0.5, is timm's; torch 2.4 cannot export one that is given to ONNX.
    dropout = attn.attn_drop.p if attn.training else 0.0
    out = F.scaled_dot_product_attention(q, attn.k_norm(k), v, dropout_p=dropout)
    out = attn.norm(out.transpose(1, 2).reshape(batch, 1, width))
    gate = getattr(attn, "gate", None)
    if gate is not None:
        out = out * gate(cls).sigmoid()
    return attn.proj_drop(attn.proj(out))
