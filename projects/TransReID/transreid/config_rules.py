"""What the keys of TransReID must fulfil together, checked before a model is built."""

from __future__ import annotations

import functools
from typing import NamedTuple

import torch
from fastreid.config import CfgNode
from fastreid.layers import any_softmax
from reid_core.config.declaration import Rule

from .build_backbone import check_feat_dim, check_image_sizes
from .build_swin import check_swin_dim
from .modeling.patch_embed import OverlapPatchEmbed, patch_grid
from .modeling.side_unknown import check_policy
from .training_rules import BUILDER, SWIN_BUILDER, TRAINING_RULES

FASTREID_HEADS = ("EmbeddingHead", "ClasHead")
TOKEN_HEADS = ("JPMHead", "CLIPReIDHead", "PartTokenHead", "LocalityHead")
WITH_BIAS = ("LinearHead", "LocalityHead")
PATCHES = ("MODEL.BACKBONE.TIMM_NAME", "MODEL.BACKBONE.STRIDE_SIZE", "INPUT.SIZE_TRAIN")


class ViT(NamedTuple):
    """Sizes of a ViT of timm."""

    embed_dim: int  # D
    patch: tuple[int, int]  # (P_h, P_w) in pixels
    depth: int  # blocks


# What most configs name: timm, which knows them all, takes seconds to import.
KNOWN_SIZES = {
    f"{family}_{size}{kind}_patch16_224": ViT(embed_dim, (16, 16), 12)
    for size, embed_dim in (("tiny", 192), ("small", 384), ("base", 768))
    for family, kind in (("vit", ""), ("deit", ""), ("deit", "_distilled"))
}


@functools.cache
def vit_sizes(name: str) -> ViT:
    """Sizes of a ViT by its name, without memory for its weights; UserError if it is none."""
    if name in KNOWN_SIZES:
        return KNOWN_SIZES[name]
    from .modeling.vits import create_vit

    with torch.device("meta"):
        vit = create_vit(name)
    return ViT(vit.embed_dim, tuple(vit.patch_embed.proj.kernel_size), len(vit.blocks))


def vit_fits(cfg: CfgNode) -> str | None:
    """FEAT_DIM and NUM_BLOCKS must be possible for TIMM_NAME."""
    options = cfg.MODEL.BACKBONE
    if options.NAME != BUILDER:
        return None
    vit = vit_sizes(options.TIMM_NAME)
    check_feat_dim(cfg, vit.embed_dim)
    heads = options.get("NUM_HEADS", 0)
    if heads and vit.embed_dim % heads:
        return (
            f"MODEL.BACKBONE.NUM_HEADS is {heads}, which does not divide the {vit.embed_dim} "
            f"dimensions of {options.TIMM_NAME}; write a divisor, or 0 for its own"
        )
    if vit.depth >= options.NUM_BLOCKS:
        return None
    return (
        f"MODEL.BACKBONE.NUM_BLOCKS is {options.NUM_BLOCKS}, but {options.TIMM_NAME} has "
        f"{vit.depth} blocks; write a number up to {vit.depth}, or 0 for all"
    )


def patches_fit(cfg: CfgNode) -> str | None:
    """Image size and stride must give patches that see every part of the image."""
    options = cfg.MODEL.BACKBONE
    if options.NAME != BUILDER:
        return None
    check_image_sizes(cfg)
    vit, stride = vit_sizes(options.TIMM_NAME), options.STRIDE_SIZE
    with torch.device("meta"):
        OverlapPatchEmbed(cfg.INPUT.SIZE_TRAIN, vit.patch, stride, 1, stem=options.STEM)
    if all(step <= side for step, side in zip(stride, vit.patch, strict=True)):
        return None
    return (
        f"MODEL.BACKBONE.STRIDE_SIZE is {list(stride)}, more than the patches of {list(vit.patch)} "
        f"pixels: what lies between them is never seen; write at most {list(vit.patch)}"
    )


def head_fits(cfg: CfgNode) -> str | None:
    """Heads that read more than [cls] need TransReID, and CLIP's head its projection."""
    model = cfg.MODEL
    head, meta, size = model.HEADS.NAME, model.META_ARCHITECTURE, model.BACKBONE.PROJECTION
    if head in TOKEN_HEADS and meta != "TransReID" and model.BACKBONE.NAME == BUILDER:
        return (
            f"MODEL.HEADS.NAME is {head}, which MODEL.META_ARCHITECTURE {meta} "
            "cannot use; set MODEL.META_ARCHITECTURE TransReID, or MODEL.HEADS.NAME BNNeckHead"
        )
    if head == "PartTokenHead" and not model.BACKBONE.PART_TOKENS:
        return (
            "MODEL.HEADS.NAME is PartTokenHead, but MODEL.BACKBONE.PART_TOKENS is 0; set it to the "
            "number of part tokens, 3 for PASS, or MODEL.HEADS.NAME BNNeckHead"
        )
    if (head == "CLIPReIDHead") == (size > 0):
        return None
    if size:
        return (
            f"MODEL.BACKBONE.PROJECTION is {size}, but MODEL.HEADS.NAME {head} does not read it, "
            "and it would never be trained; set MODEL.HEADS.NAME CLIPReIDHead, or PROJECTION 0"
        )
    return (
        "MODEL.HEADS.NAME is CLIPReIDHead, but MODEL.BACKBONE.PROJECTION is 0; set it to the size "
        "of CLIP's projection, 512 for ViT-B"
    )


def swin_fits(cfg: CfgNode) -> str | None:
    """A Swin has no [cls], no tokens to rearrange, and no place for side information."""
    model = cfg.MODEL
    if model.BACKBONE.NAME != SWIN_BUILDER:
        return None
    check_swin_dim(cfg)
    if model.HEADS.NAME in TOKEN_HEADS:
        return (
            f"MODEL.HEADS.NAME is {model.HEADS.NAME}, which needs the tokens of a ViT, but "
            f"MODEL.BACKBONE.NAME is {SWIN_BUILDER}; set MODEL.HEADS.NAME BNNeckHead"
        )
    if model.SIE.CAMERA or model.SIE.VIEW:
        return (
            f"MODEL.SIE.CAMERA or VIEW is on, but MODEL.BACKBONE.NAME {SWIN_BUILDER} has no tokens "
            "that see the whole image to add side information to; set both False"
        )
    return None


def parts_fit(cfg: CfgNode) -> str | None:
    """The numbers of JPM must not exceed the patches."""
    model = cfg.MODEL
    if model.HEADS.NAME != "JPMHead" or model.BACKBONE.NAME != BUILDER:
        return None
    vit = vit_sizes(model.BACKBONE.TIMM_NAME)
    rows, columns = patch_grid(cfg.INPUT.SIZE_TRAIN, vit.patch, model.BACKBONE.STRIDE_SIZE)
    for key in ("NUM_PARTS", "SHIFT_NUM", "SHUFFLE_GROUPS"):
        if model.JPM[key] > rows * columns:
            return (
                f"MODEL.JPM.{key} is {model.JPM[key]}, but an image has {rows} x {columns} = "
                f"{rows * columns} patches; write a number up to that"
            )
    return None


def head_has_neck(cfg: CfgNode) -> str | None:
    """HAP's classifiers have a bias, which margins have no place for, and one has no BNNeck."""
    heads = cfg.MODEL.HEADS
    if heads.NAME in WITH_BIAS and heads.CLS_LAYER != "Linear":
        return (
            f"MODEL.HEADS.CLS_LAYER is {heads.CLS_LAYER!r}, but the classifier of {heads.NAME} has "
            "a bias; set it to Linear, or MODEL.HEADS.NAME BNNeckHead"
        )
    if heads.NAME != "LinearHead":
        return None
    for key in ("NECK_FEAT", "TEST_NECK_FEAT"):
        if heads[key] != "before":
            return (
                f"MODEL.HEADS.{key} is {heads[key]!r}, but LinearHead has no BNNeck; set it to "
                "before, or MODEL.HEADS.NAME BNNeckHead"
            )
    return None


def head_knows_classifier(cfg: CfgNode) -> str | None:
    """FastReID's heads know FastReID's classifiers alone."""
    heads = cfg.MODEL.HEADS
    if heads.CLS_LAYER in any_softmax.__all__ or heads.NAME not in FASTREID_HEADS:
        return None
    return (
        f"MODEL.HEADS.CLS_LAYER is {heads.CLS_LAYER!r}, which MODEL.HEADS.NAME {heads.NAME} does "
        f"not have; write one of {', '.join(any_softmax.__all__)}, or use BNNeckHead"
    )


def side_information_fits(cfg: CfgNode) -> None:
    """Dropped cameras need cameras, and something to drop to."""
    sie = cfg.MODEL.SIE
    check_policy(sie.UNKNOWN, sie.CAMERA_DROPOUT, int(sie.CAMERA))


HEAD_PARTS = ("MODEL.HEADS.NAME", "MODEL.BACKBONE.PART_TOKENS")
RULES = (
    Rule(("MODEL.HEADS.CLS_LAYER",), head_knows_classifier),
    Rule(("MODEL.HEADS.NAME", "MODEL.HEADS.TEST_NECK_FEAT"), head_has_neck),
    Rule(("MODEL.BACKBONE.TIMM_NAME", "MODEL.BACKBONE.NUM_BLOCKS"), vit_fits),
    Rule((*PATCHES, "MODEL.BACKBONE.STEM"), patches_fit),
    Rule((*HEAD_PARTS, "MODEL.BACKBONE.PROJECTION"), head_fits),
    Rule(("MODEL.BACKBONE.NAME", "MODEL.HEADS.NAME", "MODEL.SIE.CAMERA"), swin_fits),
    Rule((*PATCHES, "MODEL.JPM.NUM_PARTS"), parts_fit),
    Rule(("MODEL.SIE.UNKNOWN", "MODEL.SIE.CAMERA_DROPOUT"), side_information_fits),
    *TRAINING_RULES,
)
