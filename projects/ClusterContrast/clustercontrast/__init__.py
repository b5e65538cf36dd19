"""ReID without labels, and moved to new cameras: cluster contrast, for FastReID."""

from reid_core.config import Project, load_config, register_project

from . import data  # noqa: F401  (registers data sets and transforms)
from .clustering.methods import CLUSTERING_REGISTRY
from .config import ARCH, KEYS, RULES, SAMPLERS, add_cluster_contrast_config
from .engine.trainer import ClusterContrastTrainer
from .memory.cluster_memory import ClusterMemory
from .modeling.head import ClusterHead
from .modeling.meta_arch import ClusterContrast

register_project(
    Project(
        "clustercontrast",
        add_cluster_contrast_config,
        {ARCH: ClusterContrastTrainer},
        keys=KEYS,
        rules=RULES,
        names={"DATALOADER.SAMPLER_TRAIN": list(SAMPLERS)},
    )
)

__all__ = [
    "CLUSTERING_REGISTRY",
    "ClusterContrast",
    "ClusterContrastTrainer",
    "ClusterHead",
    "ClusterMemory",
    "add_cluster_contrast_config",
    "load_config",
]
