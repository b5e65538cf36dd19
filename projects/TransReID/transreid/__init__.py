"""TransReID for FastReID: backbone, jigsaw patch module head, meta-architecture, ToyReID."""

import toyreid  # noqa: F401  (registers ToyReID)
from fastreid_compat.registry import apply_modules
from reid_common.moved import moved_modules
from reid_core.config import Project, load_config, register_project
from reid_core.side_information.resolve import resolve_side_information

from . import data  # noqa: F401  (registers itself)
from .build_backbone import build_transreid_backbone
from .build_swin import build_swin_backbone
from .config import KEYS, add_transreid_config
from .config_rules import RULES
from .engine.embedding_watch import TransReIDTrainer
from .inference.extractor import FeatureExtractor
from .modeling.backbone import TransReIDBackbone
from .modeling.bnneck import CLASSIFIERS, BNNeck, BNNeckHead
from .modeling.clip_head import CLIPReIDHead
from .modeling.hap_head import LinearHead, LocalityHead
from .modeling.jpm_head import JPMHead
from .modeling.luperson_mgn import LUPersonMGN
from .modeling.meta_arch import TransReID
from .modeling.part_head import PartTokenHead
from .solver import schedule  # noqa: F401  (registers itself)
from .weights import luperson  # noqa: F401  (registers itself)
from .weights.checkpoint import load_weights

apply_modules(__name__, ("solver.layer_decay",))
register_project(
    Project(
        "transreid",
        add_transreid_config,
        {"TransReID": TransReIDTrainer},
        keys=KEYS,
        rules=RULES,
        names={"MODEL.HEADS.CLS_LAYER": list(CLASSIFIERS)},
    )
)
moved_modules(
    {
        "transreid.attention": "transreid.visualize.attention",
        "transreid.checkpoint": "transreid.weights.checkpoint",
        "transreid.side_information": "transreid.modeling.side_embedding",
        "transreid.features": "transreid.inference",
        "transreid.export.onnx_reader": "transreid.inference.exported_model",
        "transreid.export.trained": "transreid.deploy.trained",
        "transreid.features.inference": "transreid.inference.extractor",
    }
    | {
        f"transreid.{name}": f"transreid.modeling.{name}"
        for name in ("backbone", "bnneck", "jigsaw", "jpm_head", "meta_arch")
    }
    | {
        f"transreid.features.{name}": f"transreid.inference.{name}"
        for name in (
            *("image_inputs", "image_lists", "pairs", "trained_model", "verification"),
            *("feature_files", "search", "extraction"),
        )
    }
)

__all__ = [
    "BNNeck",
    "BNNeckHead",
    "CLIPReIDHead",
    "FeatureExtractor",
    "JPMHead",
    "LUPersonMGN",
    "LinearHead",
    "LocalityHead",
    "PartTokenHead",
    "TransReID",
    "TransReIDBackbone",
    "add_transreid_config",
    "build_swin_backbone",
    "build_transreid_backbone",
    "load_config",
    "load_weights",
    "resolve_side_information",
]
