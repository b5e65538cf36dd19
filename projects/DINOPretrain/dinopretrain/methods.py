"""The methods of pre-training by name: MODEL.META_ARCHITECTURE."""

from __future__ import annotations

from fastreid.config import CfgNode

# Those that compare queries with keys, and have two views of one size
CONTRASTIVE = ("MoCoV2", "MoCoV3", "MoBY")
# Method -> file of the backbone that fine-tuning starts from
BACKBONE_FILES = {
    **dict.fromkeys(("DINO", "IBOT"), "teacher_backbone.pth"),
    **dict.fromkeys(CONTRASTIVE, "online_backbone.pth"),
}
METHODS = tuple(BACKBONE_FILES)


def is_pretraining(cfg: CfgNode) -> bool:
    """Whether a config pre-trains without labels."""
    return cfg.MODEL.META_ARCHITECTURE in METHODS


def is_contrastive(cfg: CfgNode) -> bool:
    """Whether a config's method is one of :data:`CONTRASTIVE`."""
    return cfg.MODEL.META_ARCHITECTURE in CONTRASTIVE


def backbone_file(cfg: CfgNode) -> str:
    """Name of the backbone's file in OUTPUT_DIR."""
    return BACKBONE_FILES[cfg.MODEL.META_ARCHITECTURE]
