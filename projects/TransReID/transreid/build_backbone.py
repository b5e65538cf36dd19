"""From a config to a backbone with its pretrained weights."""

from __future__ import annotations

from fastreid.config import CfgNode
from fastreid.modeling.backbones import BACKBONE_REGISTRY
from reid_common.errors import UserError

from .modeling.backbone import TransReIDBackbone
from .modeling.side_embedding import SideInformationEmbedding
from .modeling.sincos import RANDOM, SINCOS, begin_with_sincos
from .weights.checkpoint import load_weights


@BACKBONE_REGISTRY.register()
def build_transreid_backbone(cfg: CfgNode) -> TransReIDBackbone:
    """Build the backbone of a config, with pretrained weights if MODEL.BACKBONE.PRETRAIN.

    Raises:
        UserError: unknown or unfit TIMM_NAME, FEAT_DIM that is not the ViT's, train and test sizes
            that differ, SIE without table sizes, weights that are not available or do not fit.
    """
    from .modeling.vits import create_vit  # late: timm takes seconds
    from .weights.pretrained import load_timm_pretrained

    options = cfg.MODEL.BACKBONE
    check_image_sizes(cfg)
    heads, parts = options.get("NUM_HEADS", 0), options.get("PART_TOKENS", 0)
    tokens = {"reg_tokens": parts, "no_embed_class": False} if parts else {}
    vit = create_vit(
        options.TIMM_NAME,
        options.NUM_BLOCKS,
        **({"num_heads": heads} if heads else {}),
        **tokens,
        drop_path_rate=options.DROP_PATH_RATIO,
        proj_drop_rate=options.DROP_RATIO,
        attn_drop_rate=options.ATT_DROP_RATE,
    )
    check_feat_dim(cfg, vit.embed_dim)
    backbone = TransReIDBackbone(
        vit,
        cfg.INPUT.SIZE_TRAIN,
        options.STRIDE_SIZE,
        _build_sie(cfg, vit.embed_dim),
        stem=options.get("STEM", "patch"),
        gradient_checkpointing=options.get("GRADIENT_CHECKPOINTING", False),
        sie_tokens=cfg.MODEL.get("SIE", {}).get("TOKENS", "all"),
        projection=options.get("PROJECTION", 0),
    )
    backbone.drop_part_tokens = options.get("DROP_PART_TOKENS", False)
    if options.get("POSITIONS", RANDOM) == SINCOS:
        begin_with_sincos(backbone)
    backbone.weights_grid = tuple(options.get("PRETRAIN_GRID", ()))
    if options.PRETRAIN and options.PRETRAIN_PATH:
        load_weights(backbone, options.PRETRAIN_PATH, options.PRETRAIN_GRID)
    elif options.PRETRAIN:
        load_timm_pretrained(backbone, options.TIMM_NAME)
    return backbone


def check_image_sizes(cfg: CfgNode) -> None:
    """Raise UserError where images are not of one size."""
    train, test = list(cfg.INPUT.SIZE_TRAIN), list(cfg.INPUT.SIZE_TEST)
    if train != test:
        raise UserError(
            f"a ViT has position embeddings for one image size, but INPUT.SIZE_TRAIN is {train} "
            f"and INPUT.SIZE_TEST {test}; make them equal"
        )


def check_feat_dim(cfg: CfgNode, embed_dim: int) -> None:
    """Raise UserError where MODEL.BACKBONE.FEAT_DIM is not that of the ViT."""
    options = cfg.MODEL.BACKBONE
    if embed_dim != options.FEAT_DIM:
        raise UserError(
            f"MODEL.BACKBONE.FEAT_DIM is {options.FEAT_DIM}, but {options.TIMM_NAME} has "
            f"{embed_dim} dimensions; set FEAT_DIM: {embed_dim}"
        )


def _build_sie(cfg: CfgNode, embed_dim: int) -> SideInformationEmbedding | None:
    sie = cfg.MODEL.get("SIE")  # absent where add_transreid_config was not called
    if sie is None or not (sie.CAMERA or sie.VIEW):
        return None
    for enabled, key in (("CAMERA", "NUM_CAMERAS"), ("VIEW", "NUM_VIEWS")):
        if sie[enabled] and sie[key] < 1:
            raise UserError(
                f"MODEL.SIE.{enabled} is on, but MODEL.SIE.{key} is {sie[key]}; set it, or call "
                "transreid.resolve_side_information(cfg), which takes it from the training set"
            )
    return SideInformationEmbedding(
        num_cameras=sie.NUM_CAMERAS if sie.CAMERA else 0,
        num_views=sie.NUM_VIEWS if sie.VIEW else 0,
        embed_dim=embed_dim,
        sie_coe=cfg.MODEL.BACKBONE.SIE_COE,
        camera_table=",".join(cfg.DATASETS.get("CAMERAS", ())),
        unknown=sie.get("UNKNOWN", "mean"),
        camera_dropout=sie.get("CAMERA_DROPOUT", 0.0),
        table=sie.get("TABLE", "joint"),
    )
