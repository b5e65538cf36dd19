"""Pre-training on unlabelled person images, for FastReID: DINO, iBOT, MoCo v2 and v3, MoBY."""

from reid_core.config import Project, load_config, register_project

from . import data  # noqa: F401  (registers the data sets)
from .config import RULES, add_dino_config
from .config_keys import KEYS
from .engine.trainer import DINOTrainer, PretrainTrainer
from .losses.dino_loss import DINOLoss
from .methods import METHODS
from .modeling.dino import DINO
from .modeling.head import DINOHead
from .modeling.ibot import IBOT
from .modeling.moby import MoBY
from .modeling.moco_v2 import MoCoV2
from .modeling.moco_v3 import MoCoV3

register_project(
    Project(
        "dinopretrain",
        add_dino_config,
        dict.fromkeys(METHODS, PretrainTrainer),
        keys=KEYS,
        rules=RULES,
        names={"SOLVER.OPT": ["LARS"]},
    )
)

__all__ = [
    "DINO",
    "IBOT",
    "DINOHead",
    "DINOLoss",
    "DINOTrainer",
    "MoBY",
    "MoCoV2",
    "MoCoV3",
    "PretrainTrainer",
    "add_dino_config",
    "load_config",
]
