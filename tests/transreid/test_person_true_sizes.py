"""Files of the true sizes, under released names, into the models of our configs.

Held against a naive forward pass that is written from the equations (tests/support/naive_vit.py).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from fastreid.modeling import build_backbone
from naive_vit import naive_vit, random_state, vit_shapes
from person_backbones import spread
from reid_core.config import load_config
from torch import Tensor

CONFIGS = Path(__file__).parents[2] / "projects" / "TransReID" / "configs"
TOLERANCE = 1e-4


def image(size: tuple[int, int] = (256, 128)) -> Tensor:
    return torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(1))


def cls_from_file(config: str, content: object, folder: Path, *options: object) -> Tensor:
    """[cls] of the backbone of a config whose PRETRAIN_PATH is a file with this content."""
    path = folder / "weights.pth"
    torch.save(content, path)
    options = ("MODEL.DEVICE", "cpu", "MODEL.BACKBONE.PRETRAIN_PATH", str(path), *options)
    cfg = load_config(CONFIGS / f"{config}.yml", list(options))
    backbone = build_backbone(cfg).eval()
    path.unlink()
    with torch.no_grad():
        return backbone(image(tuple(cfg.INPUT.SIZE_TEST)))[:, :, 0, 0]


def test_personvit(tmp_path: Path) -> None:
    """ViT-S; the shapes of ViT-B are those of ssl_vit_base in test_checkpoint.py."""
    state = random_state(vit_shapes(384, 12, 129))
    teacher = {f"backbone.{key}": value for key, value in state.items()}
    teacher |= {"head.mlp.0.weight": torch.zeros(2048, 384)}
    content = {"teacher": teacher, "epoch": 220, "args": argparse.Namespace(arch="vit_small")}
    got = cls_from_file("Market1501/personvit_vit_small", content, tmp_path)
    expected = naive_vit(state, image(), heads=6)[:, 0]
    assert spread(got, expected) < TOLERANCE
