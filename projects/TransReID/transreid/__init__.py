"""TransReID for FastReID: backbone, jigsaw patch module head, meta-architecture, ToyReID."""

import fastreid_compat  # noqa: F401  (first: makes fastreid importable)

from . import data  # noqa: F401  (registers the data sets)
from .backbone import TransReIDBackbone, build_transreid_backbone
from .bnneck import BNNeck, BNNeckHead
from .config import add_transreid_config, load_config
from .jpm_head import JPMHead
from .meta_arch import TransReID
from .resolve import resolve_side_information

__all__ = [
    "BNNeck",
    "BNNeckHead",
    "JPMHead",
    "TransReID",
    "TransReIDBackbone",
    "add_transreid_config",
    "build_transreid_backbone",
    "load_config",
    "resolve_side_information",
]
