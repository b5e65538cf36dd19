"""Config keys of TransReID. Section numbers are those of He et al., "TransReID", ICCV 2021."""

from __future__ import annotations

from functools import partial

from fastreid.config import CfgNode
from reid_core.config.declaration import Key, add_keys
from reid_core.config.values import FLAG, PROBABILITY, RATE, TEXT, number, one_of, sequence, whole

from .modeling.bnneck import TEST_NECK_FEATS
from .modeling.patch_embed import STEMS
from .modeling.side_embedding import POLICIES, TABLES

GRID = sequence(whole(1), (0, 2), "[rows, columns], or () for the grid of TIMM_NAME")

train = partial(Key, training=True)

KEYS = (
    Key(
        "MODEL.BACKBONE.TIMM_NAME",
        "vit_base_patch16_224",
        TEXT,
        "Any plain ViT of timm, by name; FEAT_DIM must be its embedding dimension",
    ),
    Key(
        "MODEL.BACKBONE.NUM_BLOCKS",
        0,
        whole(0),
        "Keep only the first blocks of that ViT, for small models trained from scratch; 0 for all",
    ),
    Key(
        "MODEL.BACKBONE.PRETRAIN_GRID",
        (),
        GRID,
        "Grid of the position embeddings in PRETRAIN_PATH, such as (16, 8) for LUPerson's weights",
    ),
    Key(
        "MODEL.BACKBONE.STEM",
        "patch",
        one_of(*STEMS),
        "patch: one convolution, as in the paper; ics: the IBN convolution stem of TransReID-SSL",
    ),
    Key(
        "MODEL.BACKBONE.GRADIENT_CHECKPOINTING",
        False,
        FLAG,
        "Recompute the blocks in the backward pass: less memory, more time",
        training=True,
    ),
    Key("MODEL.SIE.CAMERA", False, FLAG, "Embed cameras (section 3.3)"),
    Key("MODEL.SIE.VIEW", False, FLAG, "Embed viewpoints (section 3.3)"),
    Key(
        "MODEL.SIE.NUM_CAMERAS",
        0,
        whole(0),
        "Cameras of the table; 0 for as many as the training set has",
    ),
    Key(
        "MODEL.SIE.NUM_VIEWS",
        0,
        whole(0),
        "Viewpoints of the table; 0 for as many as the training set has",
    ),
    Key(
        "MODEL.SIE.UNKNOWN",
        "mean",
        one_of(*POLICIES),
        "Image of an unknown camera or viewpoint: mean of the table's rows, zero (nothing is "
        "added), or error (refused)",
    ),
    Key(
        "MODEL.SIE.CAMERA_DROPOUT",
        0.0,
        RATE,
        "Probability, in training, that the camera of an image counts as unknown",
    ),
    Key(
        "MODEL.JPM.NUM_PARTS",
        4,
        whole(1),
        "k: local parts of JPMHead (section 3.2), each with its own BNNeck and classifier",
    ),
    Key(
        "MODEL.JPM.SHIFT_NUM",
        5,
        whole(1),
        "m: 5 for persons, 8 for vehicles in the released configs (m - 1 patches move)",
    ),
    Key(
        "MODEL.SIE.TABLE",
        "joint",
        one_of(*TABLES),
        "With CAMERA and VIEW both on: joint, a row for each pair S_(C, V), as in the paper; or "
        "additive, S_C + S_V, C + V rows, for few images of each pair",
    ),
    Key("MODEL.JPM.SHUFFLE_GROUPS", 2, whole(1), "g: groups of the shuffle"),
    Key(
        "MODEL.JPM.REARRANGE",
        True,
        FLAG,
        "False splits the patches in their own order (w/o rearrange of table 3)",
    ),
    Key(
        "MODEL.JPM.GLOBAL_ONLY",
        False,
        FLAG,
        "At test time f_g alone, D instead of (k + 1) * D numbers; the parts are not computed",
    ),
    Key(
        "MODEL.HEADS.TEST_NECK_FEAT",
        "before",
        one_of(*TEST_NECK_FEATS),
        "Feature at test time: before (as released) or after the BNNeck, or centered, before less "
        "the mean over the training images that the BNNeck has stored: for models trained from "
        "random weights, whose features before share most of their length",
    ),
    train(
        "MODEL.LOSSES.GLOBAL_WEIGHT",
        1.0,
        number(0),
        "Weight of the losses on f_g (equation 6: 1; the released code, which made the reported "
        "numbers: 0.5)",
    ),
    train(
        "MODEL.LOSSES.LOCAL_WEIGHT",
        1.0,
        number(0),
        "Weight of the mean of the losses on the parts (likewise)",
    ),
    train(
        "SOLVER.WARMUP_EPOCHS",
        5,
        whole(0),
        "Epochs of linear warm-up, part of the cosine of SOLVER.SCHED WarmupCosineLR; 20 for "
        "TransReID-SSL. SOLVER.WARMUP_FACTOR applies, SOLVER.WARMUP_ITERS must be 0",
    ),
    train(
        "SOLVER.ETA_MIN_FACTOR",
        0.002,
        PROBABILITY,
        "Last learning rate of all parameters as a multiple of SOLVER.BASE_LR",
    ),
)


def add_transreid_config(cfg: CfgNode) -> None:
    """Add the keys of TransReID to a FastReID config, in place."""
    add_keys(cfg, KEYS)
