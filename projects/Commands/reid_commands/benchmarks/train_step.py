"""Speed of one TransReID training step against the straightforward implementation.

python tools/benchmarks/train_step.py

Both take the same images through forward, losses, backward and optimizer, with JPM and SIE on. The
straightforward one, held here, computes attention as an explicit softmax, runs the last blocks
over all tokens and calls the local block once a part.

python tools/benchmarks/train_step.py --against FOLDER --models ViT-S/16 --strides 16 --batch 8

Instead, steps of FastReID's trainer in another checkout of this repository, such as one that git
worktree add FOLDER COMMIT makes, and in this one, in turns.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from transreid import TransReID
from transreid.modeling.jigsaw import jigsaw_parts
from transreid.training import model_with

from .against import rows_against
from .harness import Row, benchmark, compare_steps
from .models import (
    JPM_AND_SIE,
    MODEL,
    NUM_CAMERAS,
    SIZE,
    VIT_CONFIG,
    VITS,
    in_storage,
    vit_config,
    vit_options,
)

INSTANCES = 4


def plain_attention(attn: Any, x: Tensor) -> Tensor:
    """Attention with the softmax written out: (B, L, D) -> (B, L, D)."""
    batch, length, dim = x.shape
    qkv = attn.qkv(x).reshape(batch, length, 3, attn.num_heads, -1).permute(2, 0, 3, 1, 4)
    q, k, v = qkv.unbind(0)
    weights = (q @ k.transpose(-2, -1) * attn.scale).softmax(dim=-1)
    return attn.proj((weights @ v).transpose(1, 2).reshape(batch, length, dim))


def plain_block(block: Any, x: Tensor) -> Tensor:
    """A whole transformer block on all tokens."""
    x = x + plain_attention(block.attn, block.norm1(x))
    return x + block.mlp(block.norm2(x))


def plain_features(model: TransReID, batch: dict[str, Tensor]) -> list[Tensor]:
    """Features of ``model`` by the straightforward way: f_g, then those of the parts, (B, D)."""
    heads = model.heads
    tokens = model.backbone.embed(model.preprocess_image(batch), batch["camids"])
    for block in model.backbone.blocks:
        tokens = plain_block(block, tokens)
    parts = jigsaw_parts(tokens[:, 1:], heads.num_parts, heads.shift_num, heads.shuffle_groups)
    locals_ = [torch.cat([tokens[:, :1], part], dim=1) for part in parts.unbind(1)]
    branches = [(heads.global_branch, tokens), *((heads.local_branch, part) for part in locals_)]
    return [branch.norm(plain_block(branch.block, x))[:, 0] for branch, x in branches]


def plain_losses(model: TransReID, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """The losses of ``model`` by the straightforward way."""
    outputs = [
        neck.outputs(feature, batch["targets"], "before")
        for neck, feature in zip(model.heads.necks, plain_features(model, batch), strict=True)
    ]
    return model.losses({**outputs[0], "local": outputs[1:]}, batch["targets"])


def training_step(
    model: Any, losses: Callable[..., dict[str, Tensor]], batch: dict[str, Tensor]
) -> Callable[[], float]:
    """A training step on ``batch`` with an optimizer of its own; it returns the loss before it."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(parameters, lr=1e-4, momentum=0.9)

    def step() -> float:
        loss = torch.stack(list(losses(model, batch).values())).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return in_storage(step)


def measure(name: str, stride: int, args: argparse.Namespace) -> Iterator[Row]:
    """Time both implementations, alternating."""
    torch.manual_seed(0)
    more = {**JPM_AND_SIE, "MODEL.DEVICE": "cpu"}
    if args.against:
        options = vit_options(name, args.size, stride, more)
        case = {"kind": "supervised", "config": VIT_CONFIG, "options": options}
        return rows_against(args, case, args.against, args.steps)
    model = model_with(vit_config(name, args.size, stride, more), weights="").train()
    batch = {
        "images": torch.rand(args.batch, 3, *args.size) * 255,
        "targets": torch.arange(args.batch) // INSTANCES,
        "camids": torch.arange(args.batch) % NUM_CAMERAS,
    }
    steps = {
        "straightforward": training_step(copy.deepcopy(model), plain_losses, batch),
        "ours": training_step(model, lambda m, b: m(b), batch),
    }
    return compare_steps(steps, args.steps, 1e-3).rows(images=args.batch)


main, parser = benchmark(
    __doc__,
    measure,
    "timm",
    each={**MODEL, "strides": "stride"},
    models=VITS,
    strides=[16, 12],
    batch=16,
    steps=5,
    size=SIZE,
    against="",
)
