"""DINO pre-training on unlabelled person images, for FastReID."""

from reid_core.config import Project, load_config, register_project

from . import data  # noqa: F401  (registers the data sets)
from .config import KEYS, RULES, add_dino_config
from .engine.trainer import DINOTrainer
from .losses.dino_loss import DINOLoss
from .modeling.dino import DINO
from .modeling.head import DINOHead

register_project(
    Project("dinopretrain", add_dino_config, {"DINO": DINOTrainer}, keys=KEYS, rules=RULES)
)

__all__ = ["DINO", "DINOHead", "DINOLoss", "DINOTrainer", "add_dino_config", "load_config"]
