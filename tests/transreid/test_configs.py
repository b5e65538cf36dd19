"""Settings that cannot work are named. What the configs say and build: test_*_config*.py."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from fastreid.config import get_cfg
from fastreid.modeling import build_model
from reid_common.errors import UserError
from transreid import add_transreid_config, config_rules
from transreid.modeling.vits import create_vit

CONFIGS = Path(__file__).parents[2] / "projects" / "TransReID" / "configs"


def load(path: Path):
    cfg = get_cfg()
    add_transreid_config(cfg)
    cfg.merge_from_file(str(path))
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.BACKBONE.PRETRAIN = False
    cfg.MODEL.HEADS.NUM_CLASSES = 3
    return cfg


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("MODEL.BACKBONE.TIMM_NAME", "vit_tiny_patch16_225", "similar: .*vit_tiny_patch16_224"),
        ("MODEL.BACKBONE.TIMM_NAME", "resnet18", "no plain ViT|needs a plain ViT"),
        ("MODEL.BACKBONE.TIMM_NAME", "vit_base_patch16_siglip_224", r"\[cls\] token"),
        ("MODEL.BACKBONE.TIMM_NAME", "vit_tiny_r_s16_p8_224", "needs a plain ViT"),  # hybrid
        ("MODEL.BACKBONE.NUM_BLOCKS", -1, "NUM_BLOCKS is -1"),
        ("MODEL.BACKBONE.STRIDE_SIZE", [0, 0], "STRIDE_SIZE must be positive"),
        ("MODEL.JPM.SHIFT_NUM", 0, "SHIFT_NUM must be at least 1"),
        ("MODEL.HEADS.EMBEDDING_DIM", 64, "EMBEDDING_DIM is 64"),
        ("MODEL.BACKBONE.NAME", "build_resnet_backbone", "META_ARCHITECTURE TransReID needs"),
        ("MODEL.BACKBONE.FEAT_DIM", 768, "set FEAT_DIM: 192"),
        ("INPUT.SIZE_TEST", [256, 128], "make them equal"),
        ("MODEL.SIE.NUM_CAMERAS", 0, "resolve_side_information"),
    ],
)
def test_wrong_settings_are_named(key: str, value: object, message: str) -> None:
    cfg = load(CONFIGS / "ToyReID" / "vit_tiny_transreid.yml")
    cfg.merge_from_list([key, value])
    with pytest.raises(UserError, match=message):
        build_model(cfg)


@pytest.mark.parametrize("name", config_rules.KNOWN_SIZES)
def test_sizes_known_by_heart_are_those_of_timm(name: str) -> None:
    with torch.device("meta"):
        vit = create_vit(name)
    sizes = vit.embed_dim, vit.patch_embed.proj.kernel_size, len(vit.blocks)
    assert config_rules.vit_sizes(name) == sizes
