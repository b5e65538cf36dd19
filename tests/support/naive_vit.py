"""A plain ViT as a loop over its equations, from tensors under timm's names: no module of anyone's.

With what releases add to it: a norm before the blocks, layer scale, registers, rotary positions,
QuickGELU. Letters: B images, L tokens, N patches, D dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

State = Mapping[str, Tensor]


def naive_vit(
    w: State,
    images: Tensor,
    heads: int,
    eps: float = 1e-6,
    act: str = "gelu",
    stride: int = 16,
    normed: bool = True,
) -> Tensor:
    """Tokens (B, L, D) of images (B, 3, H, W): [cls], registers, patches.

    After the last norm, or before it where ``normed`` is False.
    """
    kernel = w["patch_embed.proj.weight"]
    size, dim = kernel.shape[-1], kernel.shape[0]
    patches = images.unfold(2, size, stride).unfold(3, size, stride)  # (B, 3, rows, columns, P, P)
    rows, columns = patches.shape[2:4]
    x = patches.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2) @ kernel.reshape(dim, -1).T
    x = x + w.get("patch_embed.proj.bias", 0)
    prefix = torch.cat([w[k] for k in ("cls_token", "reg_token") if k in w], 1)
    positions = w.get("pos_embed", torch.zeros(1, rows * columns, dim))
    if positions.shape[1] == rows * columns:
        x = x + positions
        x = torch.cat([prefix.expand(len(x), -1, -1), x], 1)
    else:
        x = torch.cat([prefix.expand(len(x), -1, -1), x], 1) + positions
    if "norm_pre.weight" in w:
        x = _norm(w, "norm_pre", x, eps)
    turn = None if "pos_embed" in w else _angles(rows, columns, dim // heads)
    for number in range(sum(k.endswith("attn.proj.weight") for k in w)):
        x = _block(w, f"blocks.{number}.", x, heads, eps, act, turn)
    return _norm(w, "norm", x, eps) if normed else x


def _block(
    w: State, name: str, x: Tensor, heads: int, eps: float, act: str, turn: Tensor | None
) -> Tensor:
    batch, length, dim = x.shape
    qkv = _linear(w, name + "attn.qkv", _norm(w, name + "norm1", x, eps))
    q, k, v = qkv.view(batch, length, 3, heads, dim // heads).permute(2, 0, 3, 1, 4)
    if turn is not None:
        q, k = (_turned(t, turn) for t in (q, k))
    attention = (q @ k.transpose(-1, -2) / math.sqrt(dim // heads)).softmax(-1)
    out = _linear(w, name + "attn.proj", (attention @ v).transpose(1, 2).flatten(2))
    x = x + out * w.get(name + "gamma_1", w.get(name + "ls1.gamma", torch.tensor(1.0)))
    hidden = _linear(w, name + "mlp.fc1", _norm(w, name + "norm2", x, eps))
    if act == "quick_gelu":
        hidden = hidden / (1 + torch.exp(-1.702 * hidden))
    else:
        hidden = hidden * (1 + torch.erf(hidden / math.sqrt(2))) / 2
    out = _linear(w, name + "mlp.fc2", hidden)
    return x + out * w.get(name + "gamma_2", w.get(name + "ls2.gamma", torch.tensor(1.0)))


def _norm(w: State, name: str, x: Tensor, eps: float) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    unit = centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt()
    return unit * w[name + ".weight"] + w[name + ".bias"]


def _linear(w: State, name: str, x: Tensor) -> Tensor:
    return x @ w[name + ".weight"].T + w.get(name + ".bias", torch.tensor(0.0))


def _angles(rows: int, columns: int, head_dim: int) -> Tensor:
    """DINOv3's rotation (N, head_dim / 2): each side's centres in [-1, 1], temperature 100."""
    periods = 100 ** (torch.arange(head_dim // 4) / (head_dim // 4))
    places = [2 * (torch.arange(n) + 0.5) / n - 1 for n in (rows, columns)]
    y, x = torch.meshgrid(*places, indexing="ij")
    sides = [2 * math.pi * side.flatten()[:, None] / periods for side in (y, x)]
    return torch.cat(sides, -1)


def _turned(tokens: Tensor, angles: Tensor) -> Tensor:
    """Patches (the last N of L) turned: pairs are entry i and i + head_dim / 2."""
    prefix, patches = tokens.split((tokens.shape[2] - len(angles), len(angles)), dim=2)
    first, second = patches.chunk(2, -1)
    cos, sin = angles.cos(), angles.sin()
    turned = torch.cat([first * cos - second * sin, second * cos + first * sin], -1)
    return torch.cat([prefix, turned], 2)


def vit_shapes(dim: int, depth: int, rows: int, patch: int = 16) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a plain ViT with ``rows`` positions, [cls] included."""
    shapes: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, dim),
        "pos_embed": (1, rows, dim),
        "patch_embed.proj.weight": (dim, 3, patch, patch),
        "patch_embed.proj.bias": (dim,),
        "norm.weight": (dim,),
        "norm.bias": (dim,),
    }
    layers = {"attn.qkv": (3 * dim, dim), "attn.proj": (dim, dim)}
    layers |= {"mlp.fc1": (4 * dim, dim), "mlp.fc2": (dim, 4 * dim)}
    for block in (f"blocks.{number}." for number in range(depth)):
        shapes |= {block + f"{n}.{p}": (dim,) for n in ("norm1", "norm2") for p in _BOTH}
        for name, (out, width) in layers.items():
            shapes |= {block + name + ".weight": (out, width), block + name + ".bias": (out,)}
    return shapes


_BOTH = ("weight", "bias")


def random_state(shapes: Mapping[str, tuple[int, ...]], seed: int = 0) -> dict[str, Tensor]:
    """Random weights that keep features in range."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in shapes.items():
        if not shape:
            state[name] = torch.tensor(0)
            continue
        a = torch.randn(shape, generator=generator)
        if name.endswith("running_var"):
            state[name] = 0.5 + a.abs()
        elif len(shape) == 1:
            state[name] = 1 + 0.1 * a if name.endswith(("weight", "gamma")) else 0.05 * a
        else:
            token = "patch" not in name and any(part in name for part in ("token", "embed", "_pos"))
            state[name] = 0.1 * a if token else a / math.sqrt(math.prod(shape[1:]))
    return state
