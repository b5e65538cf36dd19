"""Config keys of cluster contrast.

Source of the values: Dai et al., "Cluster Contrast for Unsupervised Person Re-Identification",
2021, and TransReID-SSL (Luo et al., 2021), whose released recipe the defaults are.
"""

from __future__ import annotations

from functools import partial

from fastreid.config import CfgNode
from fastreid.utils import comm
from reid_common.errors import UserError
from reid_core.config.declaration import Key, add_keys, check_config, rule_of
from reid_core.config.values import (
    FLAG,
    PROBABILITY,
    RATE,
    TEXT,
    Allowed,
    number,
    one_of,
    registered,
    whole,
)
from transreid.config_rules import BUILDER

from .clustering.methods import CLUSTERING_REGISTRY
from .memory.updates import UPDATES

ARCH, HEAD = "ClusterContrast", "ClusterHead"
SAMPLERS = ("CameraClusterSampler", "ClusterSampler")
AUTO, RELEASED_EPS = "auto", 0.6
EPS = Allowed(
    "a number above 0 and up to 1, or auto",
    lambda value: value in (None, AUTO) or number(above=0, high=1).holds(value),
)
METHODS = registered("a name in CLUSTERING_REGISTRY", CLUSTERING_REGISTRY._obj_map)

key = partial(Key, training=True)

KEYS = (
    key("CLUSTER.METHOD", "DBSCAN", METHODS, "Makes clusters of the distances in each epoch"),
    key(
        "CLUSTER.EPS",
        None,
        EPS,
        "Greatest Jaccard distance of neighbours in a cluster, 0..1: 0.6 for Market-1501, 0.7 for "
        "MSMT17. auto chooses one at the start, without labels, and shows the table it chose from. "
        "None is 0.6",
    ),
    key("CLUSTER.MIN_SAMPLES", 4, whole(1), "Images within EPS that make a core, itself counted"),
    key("CLUSTER.K1", 30, whole(1), "Neighbours whose reciprocity counts (Jaccard distance)"),
    key("CLUSTER.K2", 6, whole(1), "Neighbours of the local query expansion; 1 for none"),
    key(
        "CLUSTER.CENTRE_CAMERAS",
        False,
        FLAG,
        "Compare features less the mean of their camera, against clusters of cameras; not in the "
        "released recipe",
    ),
    key(
        "CLUSTER.MAX_OUTLIERS",
        0.9,
        PROBABILITY,
        "Share of images in no cluster above which the run ends; 1 never ends it",
    ),
    key(
        "CLUSTER.TRACKLETS",
        "",
        TEXT,
        "CSV with the columns image, tracklet and, optionally, camera and time (any number): "
        "images of a tracklet are one identity, and two tracklets that one camera sees at the same "
        "time are two. '' for none",
    ),
    key("CLUSTER.ITERATIONS", 200, whole(1), "Iterations of an epoch"),
    key("CLUSTER.TEMPERATURE", 0.05, number(above=0), "tau of ClusterNCE"),
    key("CLUSTER.MOMENTUM", 0.2, RATE, "m: share of a row of the memory that an update keeps"),
    key(
        "CLUSTER.UPDATE",
        "hard",
        one_of(*UPDATES),
        "hard: a row moves once a batch, to its least similar image; each: by every image, safer "
        "for a ResNet and where clusters are impure, with MOMENTUM 0.9",
    ),
    key(
        "CLUSTER.BN_GROUP",
        0,
        whole(0),
        "Consecutive images of a batch that share statistics of BatchNorm, as on one of several "
        "GPUs; 0 for the whole share of a process. 64 as released for Market-1501, 128 for MSMT17",
    ),
    key(
        "CLUSTER.BEST_BY",
        "none",
        one_of("none", "test"),
        "none keeps no best checkpoint, as there are no labels to choose it by; test takes the "
        "highest mAP on the test set, as the published results do",
    ),
    key("CLUSTER.REPORT_PERIOD", 10, whole(0), "Epochs between two contact sheets; 0 for none"),
    key("CLUSTER.EXPORT", True, FLAG, "Write the pseudo labels of each epoch as a CSV"),
)


def head_is_known(cfg: CfgNode) -> str | None:
    """The memory compares one feature; JPM has five, and other heads have a classifier."""
    name = cfg.MODEL.HEADS.NAME
    if name == HEAD:
        return None
    reason = "gives outputs of a classifier, which takes fixed identities"
    if name == "JPMHead":
        reason = "has a neck for each part, and the cluster memory holds one feature an image"
    return f"MODEL.HEADS.NAME is {name}, which {reason}; set it to {HEAD}"


def sampler_is_known(cfg: CfgNode) -> str | None:
    """Only the samplers of this project know pseudo labels."""
    name = cfg.DATALOADER.SAMPLER_TRAIN
    if name in SAMPLERS:
        return None
    return (
        f"DATALOADER.SAMPLER_TRAIN is {name}, which does not know pseudo labels; write "
        f"{SAMPLERS[0]}, which takes the images of a cluster from several cameras, or {SAMPLERS[1]}"
    )


def batch_is_shared(cfg: CfgNode) -> str | None:
    """A batch is P clusters of K images, and each group of BatchNorm has two images at least."""
    batch, instances = cfg.SOLVER.IMS_PER_BATCH, cfg.DATALOADER.NUM_INSTANCE
    group, share = cfg.CLUSTER.BN_GROUP, batch // comm.get_world_size()
    if batch % instances:
        return (
            f"SOLVER.IMS_PER_BATCH is {batch}, no multiple of DATALOADER.NUM_INSTANCE "
            f"{instances}; write one, such as {max(batch // instances, 1) * instances}"
        )
    if group == 1 or (group and share % group == 1):
        return (
            f"CLUSTER.BN_GROUP is {group}, which leaves a group of one image, of the {share} of a "
            f"process, without statistics; write a divisor of {share} from 2 on, or 0"
        )
    return None


def pooling_fits(cfg: CfgNode) -> str | None:
    """The token of a ViT has negative numbers, which GeM cannot take a power of."""
    pool = cfg.MODEL.HEADS.POOL_LAYER
    if cfg.MODEL.BACKBONE.NAME != BUILDER or not pool.startswith("Generalized"):
        return None
    return (
        f"MODEL.HEADS.POOL_LAYER is {pool}, which cuts off the negative numbers of a ViT's [cls]; "
        "set it to GlobalAvgPool"
    )


def feature_is_trained(cfg: CfgNode) -> str | None:
    """Clusters are made of the feature that the memory is trained with."""
    kind = cfg.MODEL.HEADS.TEST_NECK_FEAT
    if kind == "after":
        return None
    return (
        f"MODEL.HEADS.TEST_NECK_FEAT is {kind}, but the memory is trained with the feature after "
        "BN, and clusters are made of the feature at test time; set it to after"
    )


def norm_is_not_measured(cfg: CfgNode) -> str | None:
    """Precise BN would need batches of another data set before there are pseudo labels."""
    if not cfg.TEST.PRECISE_BN.ENABLED:
        return None
    return "TEST.PRECISE_BN.ENABLED is True, which needs labelled batches; set it to False"


RULES = (
    rule_of((ARCH,), head_is_known, "CLUSTER.EPS", "MODEL.HEADS.NAME"),
    rule_of((ARCH,), feature_is_trained, "CLUSTER.EPS", "MODEL.HEADS.TEST_NECK_FEAT"),
    rule_of((ARCH,), sampler_is_known, "CLUSTER.EPS", "DATALOADER.SAMPLER_TRAIN"),
    rule_of((ARCH,), batch_is_shared, "CLUSTER.EPS", "SOLVER.IMS_PER_BATCH"),
    rule_of((ARCH,), pooling_fits, "CLUSTER.EPS", "MODEL.HEADS.POOL_LAYER"),
    rule_of((ARCH,), norm_is_not_measured, "CLUSTER.EPS", "TEST.PRECISE_BN.ENABLED"),
)


def add_cluster_contrast_config(cfg: CfgNode) -> None:
    """Add the keys of cluster contrast to a config that has those of TransReID, in place."""
    add_keys(cfg, KEYS)


def check_cluster_config(cfg: CfgNode) -> None:
    """Raise UserError for settings that cannot work, by the keys and rules of this project."""
    if cfg.MODEL.META_ARCHITECTURE != ARCH:
        raise UserError(
            f"MODEL.META_ARCHITECTURE is {cfg.MODEL.META_ARCHITECTURE!r}; training without labels "
            f"needs {ARCH}, as in projects/ClusterContrast/configs/Base-ClusterContrast.yml"
        )
    check_config(cfg, KEYS, RULES)
