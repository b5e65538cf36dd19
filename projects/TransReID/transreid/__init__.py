"""TransReID for FastReID: backbone, jigsaw patch module head, meta-architecture, ToyReID."""

import fastreid_compat  # noqa: F401  (first: makes fastreid importable)

from . import data, schedule, transforms  # noqa: F401  (register themselves)
from .backbone import TransReIDBackbone
from .bnneck import BNNeck, BNNeckHead
from .build_backbone import build_transreid_backbone
from .checkpoint import load_weights
from .config import add_transreid_config, load_config
from .features.inference import FeatureExtractor
from .jpm_head import JPMHead
from .meta_arch import TransReID
from .resolve import resolve_side_information

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
