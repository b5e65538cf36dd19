"""What the config keys of pre-training must fulfil together, and the methods that read them."""

from __future__ import annotations

from fastreid.config import CfgNode
from reid_common.errors import UserError
from reid_core.config.declaration import add_keys, check_config, rule_of, value_of
from reid_core.run.compile_modes import wants_cuda_graphs
from transreid.config_rules import BUILDER, vit_sizes

from .config_keys import COLOUR_KEYS, KEYS
from .methods import CONTRASTIVE, METHODS
from .solver.optimizers import OPTIMIZERS


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
            f"SOLVER.WARMUP_ITERS is {solver.WARMUP_ITERS}; the warm-up of pre-training is "
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


def views_are_two(cfg: CfgNode) -> str | None:
    """A query has one key: there are no local views."""
    if not cfg.DINO.LOCAL_VIEWS:
        return None
    return (
        f"DINO.LOCAL_VIEWS is {cfg.DINO.LOCAL_VIEWS}, but {cfg.MODEL.META_ARCHITECTURE} compares "
        "two global views and no others; set DINO.LOCAL_VIEWS 0"
    )


def views_have_own_colours(cfg: CfgNode) -> str | None:
    """MOCO.VIEWS names a recipe, colours included."""
    for key in COLOUR_KEYS:
        value = value_of(cfg, key.name)
        if (list(value) if isinstance(value, tuple) else value) != key.default:
            return (
                f"{key.name} is {value}, which DINO and IBOT read; the colours of "
                f"{cfg.MODEL.META_ARCHITECTURE} are those of MOCO.VIEWS: leave it out"
            )
    return None


def optimizer_is_known(cfg: CfgNode) -> str | None:
    """The optimizers of the papers."""
    if cfg.SOLVER.OPT in OPTIMIZERS:
        return None
    return (
        f"SOLVER.OPT is {cfg.SOLVER.OPT!r}, with which {cfg.MODEL.META_ARCHITECTURE} cannot be "
        f"trained; write one of {', '.join(OPTIMIZERS)}"
    )


def batch_is_in_one_piece(cfg: CfgNode) -> str | None:
    """Where images of a batch are compared, a piece of it is another method."""
    name, backbone = cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.BACKBONE
    if not cfg.DINO.MICRO_BATCH:
        return None
    if name == "MoCoV2" and backbone.NAME == BUILDER and backbone.STEM == "patch":
        return None  # neither BatchNorm nor negatives of the same batch
    reasons = {
        "MoCoV2": "BatchNorm would have its statistics from a piece, and shuffling it would mix "
        "the pieces alone",
        "MoCoV3": "a query is compared with the keys of its whole batch, and BatchNorm has its "
        "statistics from it",
        "MoBY": "BatchNorm of the heads has its statistics from the whole batch",
    }
    return (
        f"DINO.MICRO_BATCH is {cfg.DINO.MICRO_BATCH}, which would change {name}: {reasons[name]}. "
        "Set it to 0; to save memory lower SOLVER.IMS_PER_BATCH, add processes, or for a ViT set "
        "MODEL.BACKBONE.GRADIENT_CHECKPOINTING True"
    )


def queue_holds_a_batch(cfg: CfgNode) -> str | None:
    """A step's keys do not replace one another."""
    queue, batch = cfg.MOCO.QUEUE_SIZE, cfg.SOLVER.IMS_PER_BATCH
    if cfg.MODEL.META_ARCHITECTURE == "MoCoV3" or queue >= batch:
        return None
    return (
        f"MOCO.QUEUE_SIZE is {queue}, fewer keys than the {batch} of one step "
        f"(SOLVER.IMS_PER_BATCH); write at least {batch}"
    )


def patches_can_be_hidden(cfg: CfgNode) -> str | None:
    """Only a ViT has patches."""
    if cfg.MODEL.BACKBONE.NAME == BUILDER:
        return None
    return (
        f"MODEL.BACKBONE.NAME is {cfg.MODEL.BACKBONE.NAME}, but IBOT hides patches of a ViT; set "
        f"{BUILDER}, or MODEL.META_ARCHITECTURE DINO"
    )


def ratios_have_ranges(cfg: CfgNode) -> str | None:
    """Each ratio has its range, and stays within 0 and 1."""
    ratios, ranges = list(cfg.IBOT.MASK_RATIO), list(cfg.IBOT.MASK_RATIO_RANGE)
    within = all(r >= v and r + v < 1 for r, v in zip(ratios, ranges, strict=False))
    if len(ratios) == len(ranges) and within:
        return None
    return (
        f"IBOT.MASK_RATIO is {ratios} and MASK_RATIO_RANGE {ranges}; write as many of both, with "
        "ratio - range at least 0 and ratio + range below 1"
    )


def graphs_have_one_piece(cfg: CfgNode) -> str | None:
    """The gradients of a piece lie in a CUDA graph's memory, where those of the next come."""
    if not wants_cuda_graphs(cfg) or not cfg.DINO.MICRO_BATCH:
        return None
    return (
        f"MODEL.COMPILE_MODE is reduce-overhead, whose CUDA graphs need a batch in one piece, but "
        f"DINO.MICRO_BATCH is {cfg.DINO.MICRO_BATCH}; set it to 0, or COMPILE_MODE default"
    )


def layers_learn_alike(cfg: CfgNode) -> str | None:
    """Rates by depth keep pre-trained weights, of which there are none."""
    if cfg.SOLVER.LAYER_DECAY == 1:
        return None
    return (
        f"SOLVER.LAYER_DECAY is {cfg.SOLVER.LAYER_DECAY}, which is for fine-tuning; "
        f"{cfg.MODEL.META_ARCHITECTURE} trains all layers alike: set it to 1.0"
    )


MASKED = ("IBOT",)
RULES = (
    rule_of(METHODS, local_views_hold_a_patch, "DINO.LOCAL_SIZE", "MODEL.BACKBONE.TIMM_NAME"),
    rule_of(METHODS, warm_up_is_in_epochs, "DINO.OUT_DIM", "SOLVER.WARMUP_EPOCHS"),
    rule_of(METHODS, layers_learn_alike, "DINO.OUT_DIM", "SOLVER.LAYER_DECAY"),
    rule_of(
        METHODS, backbone_can_recompute, "DINO.OUT_DIM", "MODEL.BACKBONE.GRADIENT_CHECKPOINTING"
    ),
    rule_of(METHODS, graphs_have_one_piece, "DINO.MICRO_BATCH"),
    rule_of(CONTRASTIVE, views_are_two, "DINO.LOCAL_VIEWS", "MOCO.VIEWS"),
    rule_of(CONTRASTIVE, views_have_own_colours, *(key.name for key in COLOUR_KEYS), "MOCO.VIEWS"),
    rule_of(CONTRASTIVE, optimizer_is_known, "SOLVER.OPT", "MOCO.VIEWS"),
    rule_of(CONTRASTIVE, batch_is_in_one_piece, "DINO.MICRO_BATCH", "MODEL.BACKBONE.STEM"),
    rule_of(CONTRASTIVE, queue_holds_a_batch, "MOCO.QUEUE_SIZE", "SOLVER.IMS_PER_BATCH"),
    rule_of(MASKED, patches_can_be_hidden, "IBOT.MASK_RATIO", "MODEL.BACKBONE.NAME"),
    rule_of(MASKED, ratios_have_ranges, "IBOT.MASK_RATIO", "IBOT.MASK_RATIO_RANGE"),
)


def add_dino_config(cfg: CfgNode) -> None:
    """Add the keys of pre-training to a config that has those of TransReID, in place."""
    add_keys(cfg, KEYS)


def check_dino_config(cfg: CfgNode) -> None:
    """Raise UserError for settings that cannot work, by the keys and rules of this project."""
    if cfg.MODEL.META_ARCHITECTURE not in METHODS:
        raise UserError(
            f"MODEL.META_ARCHITECTURE is {cfg.MODEL.META_ARCHITECTURE!r}; pre-training needs "
            f"{', '.join(METHODS)}, as in projects/DINOPretrain/configs/Base-DINO.yml"
        )
    check_config(cfg, KEYS, RULES)
