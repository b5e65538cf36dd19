"""Speed of one TransReID training step against the straightforward implementation.

python tools/benchmarks/train_step.py

Both take the same images through forward, losses, backward and optimizer, with JPM and SIE on. The
straightforward one, held here, computes attention as an explicit softmax, runs the last blocks
over all tokens and calls the local block once a part. Steps alternate within one run; the ratio
is of the medians.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable, Sequence
from typing import Any

import fastreid_compat  # noqa: F401  (first: makes fastreid importable)
import timm
import torch
from fastreid.utils.events import EventStorage
from reid_core.run.command_line import show_user_errors
from torch import Tensor
from transreid import JPMHead, TransReID, TransReIDBackbone
from transreid.modeling.jigsaw import jigsaw_parts
from transreid.modeling.side_embedding import SideInformationEmbedding

from .harness import Comparison, alternate, check_agreement, header, print_table, timed

MODELS = {"ViT-S/16": "vit_small_patch16_224", "ViT-B/16": "vit_base_patch16_224"}
NUM_CLASSES, NUM_CAMERAS, INSTANCES = 751, 6, 4
LOSSES = {
    "loss_names": ("CrossEntropyLoss", "TripletLoss"),
    "ce": {"eps": 0.0, "alpha": 0.2, "scale": 1.0},
    "tri": {"margin": 0.0, "norm_feat": False, "hard_mining": True, "scale": 1.0},
}


def build(name: str, size: tuple[int, int], stride: int) -> TransReID:
    """TransReID with SIE of 6 cameras and JPM, random weights, no drop path (that is noise)."""
    vit: Any = timm.create_model(name, num_classes=0)
    sie = SideInformationEmbedding(NUM_CAMERAS, 0, vit.embed_dim)
    return TransReID(
        backbone=TransReIDBackbone(vit, size, (stride, stride), sie),
        heads=JPMHead(feat_dim=vit.embed_dim, num_classes=NUM_CLASSES),
        pixel_mean=[127.5] * 3,
        pixel_std=[127.5] * 3,
        loss_kwargs=LOSSES,
    ).train()


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


def plain_branch(branch: Any, tokens: Tensor) -> Tensor:
    """[cls] after a branch that computes all tokens."""
    return branch.norm(plain_block(branch.block, tokens))[:, 0]


def plain_losses(model: TransReID, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """The losses of ``model`` by the straightforward way."""
    heads = model.heads
    tokens = model.backbone.embed(model.preprocess_image(batch), batch["camids"])
    for block in model.backbone.blocks:
        tokens = plain_block(block, tokens)
    features = [plain_branch(heads.global_branch, tokens)]
    parts = jigsaw_parts(tokens[:, 1:], heads.num_parts, heads.shift_num, heads.shuffle_groups)
    for part in parts.unbind(1):
        features.append(plain_branch(heads.local_branch, torch.cat([tokens[:, :1], part], dim=1)))
    outputs = [
        neck.outputs(feature, batch["targets"], "before")
        for neck, feature in zip(heads.necks, features, strict=True)
    ]
    return model.losses({**outputs[0], "local": outputs[1:]}, batch["targets"])


def training_step(
    model: TransReID, losses: Callable[..., dict[str, Tensor]], batch: dict[str, Tensor]
) -> Callable[[], float]:
    """A training step on ``batch`` with an optimizer of its own; it returns the loss before it."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(parameters, lr=1e-4, momentum=0.9)

    def step() -> float:
        loss = torch.stack(list(losses(model, batch).values())).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()  # waits until a GPU has done all of it

    return step


def measure(name: str, stride: int, args: argparse.Namespace) -> Comparison:
    """Time both implementations, alternating."""
    torch.manual_seed(0)
    model = build(MODELS[name], tuple(args.size), stride).to(args.device)
    batch = {
        "images": torch.rand(args.batch, 3, *args.size, device=args.device) * 255,
        "targets": torch.arange(args.batch, device=args.device) // INSTANCES,
        "camids": torch.arange(args.batch, device=args.device) % NUM_CAMERAS,
    }
    steps = {
        "straightforward": training_step(copy.deepcopy(model), plain_losses, batch),
        "ours": training_step(model, lambda m, b: m(b), batch),
    }
    with EventStorage(0):
        check_agreement({name: {"loss": step()} for name, step in steps.items()}, 1e-3)
        return alternate({name: timed(step) for name, step in steps.items()}, args.steps)


@show_user_errors
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--strides", nargs="+", type=int, default=[16, 12])
    parser.add_argument("--batch", type=int, default=16, help="images a step, a multiple of 4")
    parser.add_argument("--steps", type=int, default=5, help="timed steps of each implementation")
    parser.add_argument("--size", nargs=2, type=int, default=[256, 128], metavar=("H", "W"))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args(argv)
    header(args, "timm")
    print_table(
        {"model": name, "stride": stride, **row}
        for name in args.models
        for stride in args.strides
        for row in measure(name, stride, args).rows(images=args.batch)
    )
    return 0
