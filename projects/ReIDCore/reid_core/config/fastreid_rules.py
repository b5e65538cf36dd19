"""What FastReID's keys must fulfil together."""

from __future__ import annotations

from fastreid.config import CfgNode
from fastreid_compat.repairs.checkpoints.pretrained import check_pretrain_path
from fastreid_compat.repairs.training.mixed_precision import check_amp
from fastreid_compat.repairs.training.schedules import check_schedule

from .declaration import Rule


def cosine_falls(cfg: CfgNode) -> str | None:
    """A cosine must begin before the run ends, and end below its first learning rate."""
    solver = cfg.SOLVER
    if solver.SCHED != "CosineAnnealingLR":
        return None
    if solver.DELAY_EPOCHS >= solver.MAX_EPOCH:
        return (
            f"SOLVER.DELAY_EPOCHS is {solver.DELAY_EPOCHS}, which leaves none of SOLVER.MAX_EPOCH "
            f"= {solver.MAX_EPOCH} epochs to CosineAnnealingLR; write a number below it"
        )
    if solver.ETA_MIN_LR > solver.BASE_LR:
        return (
            f"SOLVER.ETA_MIN_LR is {solver.ETA_MIN_LR}, above SOLVER.BASE_LR = {solver.BASE_LR}: "
            "the learning rate would rise; write a number below SOLVER.BASE_LR"
        )
    return None


def nesterov_has_momentum(cfg: CfgNode) -> str | None:
    """Nesterov's variant needs a momentum."""
    solver = cfg.SOLVER
    if solver.OPT != "SGD" or not solver.NESTEROV or solver.MOMENTUM > 0:
        return None
    return (
        f"SOLVER.MOMENTUM is {solver.MOMENTUM} with SOLVER.NESTEROV True; write a momentum above "
        "0, such as 0.9, or set SOLVER.NESTEROV False"
    )


def one_weight_file_for_each_teacher(cfg: CfgNode) -> str | None:
    """Teachers of distillation come with their checkpoints."""
    configs, weights = len(cfg.KD.MODEL_CONFIG), len(cfg.KD.MODEL_WEIGHTS)
    if configs == weights:
        return None
    return (
        f"KD.MODEL_WEIGHTS has {weights} files for the {configs} teachers of KD.MODEL_CONFIG; "
        "give each teacher one"
    )


def has_training_set(cfg: CfgNode) -> str | None:
    """Training needs images."""
    if cfg.DATASETS.NAMES:
        return None
    return "DATASETS.NAMES is (); write the names of the training sets, such as ('Market1501',)"


def pretrained_file(cfg: CfgNode) -> None:
    """PRETRAIN_PATH must name a file, where it is used."""
    if cfg.MODEL.BACKBONE.PRETRAIN and cfg.MODEL.BACKBONE.PRETRAIN_PATH:
        check_pretrain_path(cfg.MODEL.BACKBONE.PRETRAIN_PATH)


RULES = (
    Rule(("DATASETS.NAMES",), has_training_set, training=True),
    Rule(("SOLVER.DELAY_EPOCHS", "SOLVER.ETA_MIN_LR"), cosine_falls, training=True),
    Rule(("SOLVER.NESTEROV", "SOLVER.MOMENTUM"), nesterov_has_momentum, training=True),
    Rule(("KD.MODEL_CONFIG", "KD.MODEL_WEIGHTS"), one_weight_file_for_each_teacher, training=True),
    Rule(("SOLVER.SCHED",), check_schedule, training=True),
    Rule(("SOLVER.AMP.ENABLED", "SOLVER.AMP.DTYPE"), check_amp, training=True),
    Rule(("MODEL.BACKBONE.PRETRAIN_PATH",), pretrained_file, training=True),
)
