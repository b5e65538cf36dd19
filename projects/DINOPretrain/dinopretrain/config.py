"""Config keys of DINO pre-training.

Source of the values: Caron et al., ICCV 2021, and its released code.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from fastreid.config import CfgNode
from reid_common.errors import UserError
from reid_core.config.declaration import Key, Rule, add_keys, check_config
from reid_core.config.values import FLAG, IMAGE_SIZE, PROBABILITY, interval, number, whole
from transreid.config_rules import BUILDER, vit_sizes

key = partial(Key, training=True)

KEYS = (
    key("DINO.OUT_DIM", 65536, whole(2), "K: outputs of the head; fewer for small batches"),
    key("DINO.HIDDEN_DIM", 2048, whole(1), "Width of the head's hidden layers"),
    key("DINO.BOTTLENECK_DIM", 256, whole(1), "Width before the head's last layer"),
    key("DINO.NORM_LAST_LAYER", True, FLAG, "Keep the norms of the last layer's weights at 1"),
    key("DINO.STUDENT_TEMP", 0.1, number(above=0), "tau_s"),
    key("DINO.TEACHER_TEMP", 0.04, number(above=0), "tau_t after its warm-up; 0.07 is usual"),
    key("DINO.WARMUP_TEACHER_TEMP", 0.04, number(above=0), "tau_t at the start"),
    key(
        "DINO.WARMUP_TEACHER_TEMP_EPOCHS",
        0,
        whole(0),
        "Epochs in which tau_t goes, linearly, from WARMUP_TEACHER_TEMP to TEACHER_TEMP",
    ),
    key("DINO.CENTER_MOMENTUM", 0.9, PROBABILITY, "m of equation 4"),
    key(
        "DINO.MOMENTUM",
        0.996,
        PROBABILITY,
        "Momentum of the teacher at the start, by a cosine to 1 at the end; 0.9995 at batch 256",
    ),
    key(
        "DINO.WEIGHT_DECAY_END",
        0.4,
        number(0),
        "Weight decay by a cosine from SOLVER.WEIGHT_DECAY to this; none on biases and 1-d "
        "parameters",
    ),
    key(
        "DINO.KOLEO_WEIGHT",
        0.0,
        number(0),
        "Weight of KoLeo, which spreads the features over more dimensions: 0 as released, 0.1 in "
        "DINOv2. The images of one forward pass are compared, see MICRO_BATCH",
    ),
    key(
        "DINO.CLIP_GRADIENT",
        3.0,
        number(0),
        "Greatest norm of the gradient of each parameter; 0 for no clipping",
    ),
    key(
        "DINO.MICRO_BATCH",
        0,
        whole(0),
        "Images of one forward pass of one process; a step sums the gradients of as many passes as "
        "its share of SOLVER.IMS_PER_BATCH needs. 0 for the whole share. Changes nothing but "
        "memory and time, for a ViT without KoLeo; BatchNorm has its statistics from a pass",
    ),
    key("DINO.FREEZE_LAST_LAYER", 1, whole(0), "Epochs in which the last layer is not trained"),
    key(
        "DINO.MIN_LR",
        1e-6,
        number(0),
        "Last learning rate, absolute. It is SOLVER.BASE_LR * SOLVER.IMS_PER_BATCH / 256 after "
        "SOLVER.WARMUP_EPOCHS from 0, then a cosine",
    ),
    key("DINO.STOP_ON_COLLAPSE", True, FLAG, "End a run that has collapsed; False only warns"),
    key(
        "DINO.COLLAPSE_GRACE",
        100,
        whole(0),
        "First iterations, in which collapse is not looked for: outputs start almost uniform",
    ),
    key("DINO.LOCAL_VIEWS", 8, whole(0), "Local views, beside two global ones"),
    key(
        "DINO.LOCAL_SIZE",
        [128, 64],
        IMAGE_SIZE,
        "Size of a local view; global views have INPUT.SIZE_TRAIN",
    ),
    key("DINO.GLOBAL_SCALE", [0.4, 1.0], interval(0, 1), "Part of the area in a global view"),
    key("DINO.LOCAL_SCALE", [0.05, 0.4], interval(0, 1), "Part of the area in a local view"),
    key(
        "DINO.CROP_RATIO",
        [3 / 4, 4 / 3],
        interval(),
        "Width / height of that part, before it is resized; the default, torchvision's and the "
        "released recipe's, stretches an upright image",
    ),
    key(
        "DINO.MAX_BAD_IMAGES",
        0.01,
        PROBABILITY,
        "Greatest share of images that cannot be read before the run ends",
    ),
)


def warm_up_is_in_epochs(cfg: CfgNode) -> str | None:
    """The warm-up has epochs, and is shorter than the run."""
    solver = cfg.SOLVER
    if solver.WARMUP_EPOCHS >= solver.MAX_EPOCH:
        return (
            f"SOLVER.WARMUP_EPOCHS is {solver.WARMUP_EPOCHS}, which must be at least 0 and below "
            f"SOLVER.MAX_EPOCH, {solver.MAX_EPOCH}"
        )
    if solver.WARMUP_ITERS:
        return (
            f"SOLVER.WARMUP_ITERS is {solver.WARMUP_ITERS}; the warm-up of DINO is "
            "SOLVER.WARMUP_EPOCHS: set SOLVER.WARMUP_ITERS 0"
        )
    return None


def backbone_can_recompute(cfg: CfgNode) -> str | None:
    """Only the ViT has gradient checkpointing."""
    backbone = cfg.MODEL.BACKBONE
    if not backbone.GRADIENT_CHECKPOINTING or backbone.NAME == BUILDER:
        return None
    return (
        f"MODEL.BACKBONE.GRADIENT_CHECKPOINTING is True, which {backbone.NAME} does not have; "
        "set it to False, and DINO.MICRO_BATCH to save memory"
    )


def local_views_hold_a_patch(cfg: CfgNode) -> str | None:
    """A view is at least as large as a patch."""
    backbone, options = cfg.MODEL.BACKBONE, cfg.DINO
    if backbone.NAME != BUILDER or not options.LOCAL_VIEWS:
        return None
    patch = vit_sizes(backbone.TIMM_NAME).patch
    if all(side >= least for side, least in zip(options.LOCAL_SIZE, patch, strict=True)):
        return None
    return (
        f"DINO.LOCAL_SIZE is {list(options.LOCAL_SIZE)}, smaller than one patch of {list(patch)}; "
        "write a larger size, such as [128, 64]"
    )


def _rule(key: str, other: str, check: Callable[[CfgNode], str | None]) -> Rule:
    """A rule about trainings of DINO."""

    def of_dino(cfg: CfgNode) -> str | None:
        return check(cfg) if cfg.MODEL.META_ARCHITECTURE == "DINO" else None

    return Rule((key, other), of_dino, training=True)


RULES = (
    _rule("DINO.LOCAL_SIZE", "MODEL.BACKBONE.TIMM_NAME", local_views_hold_a_patch),
    _rule("DINO.OUT_DIM", "SOLVER.WARMUP_EPOCHS", warm_up_is_in_epochs),
    _rule("DINO.OUT_DIM", "MODEL.BACKBONE.GRADIENT_CHECKPOINTING", backbone_can_recompute),
)


def add_dino_config(cfg: CfgNode) -> None:
    """Add the keys of DINO to a config that has those of TransReID, in place."""
    add_keys(cfg, KEYS)


def check_dino_config(cfg: CfgNode) -> None:
    """Raise UserError for settings that cannot work, by the keys and rules of this project."""
    if cfg.MODEL.META_ARCHITECTURE != "DINO":
        raise UserError(
            f"MODEL.META_ARCHITECTURE is {cfg.MODEL.META_ARCHITECTURE!r}; DINO pre-training needs "
            "DINO, as in projects/DINOPretrain/configs/Base-DINO.yml"
        )
    check_config(cfg, KEYS, RULES)
