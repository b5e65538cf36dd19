"""DINO pre-training on unlabelled person images, for FastReID."""

import fastreid_compat  # noqa: F401  (first: makes fastreid importable)

from . import data  # noqa: F401  (registers the data sets)
from .config import add_dino_config, load_config
from .engine.trainer import DINOTrainer
from .losses.dino_loss import DINOLoss
from .modeling.dino import DINO
from .modeling.head import DINOHead

__all__ = ["DINO", "DINOHead", "DINOLoss", "DINOTrainer", "add_dino_config", "load_config"]
