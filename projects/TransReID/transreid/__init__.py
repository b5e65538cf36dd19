"""TransReID for FastReID: backbone, jigsaw patch module head, meta-architecture, ToyReID."""

import fastreid_compat  # noqa: F401  (first: makes fastreid importable)

from . import data  # noqa: F401  (register themselves)
from .config import add_transreid_config, load_config
from .data import transforms  # noqa: F401  (register themselves)
from .inference.extractor import FeatureExtractor
from .modeling.backbone import TransReIDBackbone
from .modeling.bnneck import BNNeck, BNNeckHead
from .modeling.build_backbone import build_transreid_backbone
from .modeling.jpm_head import JPMHead
from .modeling.meta_arch import TransReID
from .resolve import resolve_side_information
from .solver import schedule  # noqa: F401  (register themselves)
from .weights.checkpoint import load_weights

__all__ = [
    "BNNeck",
    "BNNeckHead",
    "FeatureExtractor",
    "JPMHead",
    "TransReID",
    "TransReIDBackbone",
    "add_transreid_config",
    "build_transreid_backbone",
    "load_config",
    "load_weights",
    "resolve_side_information",
]
