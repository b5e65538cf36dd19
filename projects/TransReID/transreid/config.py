"""Config keys of TransReID. Section numbers are those of He et al., "TransReID", ICCV 2021."""

from __future__ import annotations

from fastreid.config import CfgNode
from reid_core.config.declaration import add_keys, section
from reid_core.config.values import FLAG, PROBABILITY, RATE, TEXT, number, one_of, sequence, whole

from .build_swin import SWINS
from .modeling.backbone import SIE_TOKENS
from .modeling.bnneck import TEST_NECK_FEATS
from .modeling.part_head import MIXES, NECKS
from .modeling.patch_embed import STEMS
from .modeling.side_embedding import TABLES
from .modeling.side_unknown import POLICIES
from .modeling.sincos import POSITIONS, RANDOM

TRAIN = True  # only training reads it
GRID = sequence(whole(1), (0, 2), "[rows, columns], or () for the grid of TIMM_NAME")

KEYS = (
    *section(
        "INPUT",
        (
            "ON_DEVICE",
            False,
            FLAG,
            "Images go to the device as bytes, a quarter of float32, and random erasing is done "
            "there, batch by batch: for GPUs whose loader is the limit. The same images, but for "
            "the numbers of the noise. With INPUT.TRANSFORM TransReID",
            TRAIN,
        ),
    ),
    *section(
        "MODEL.BACKBONE",
        ("TIMM_NAME", "vit_base_patch16_224", TEXT, "Any plain ViT of timm, of dimension FEAT_DIM"),
        ("NUM_BLOCKS", 0, whole(0), "Keep only the first blocks of that ViT; 0 for all"),
        (
            "NUM_HEADS",
            0,
            whole(0),
            "Heads of its attention, which must divide FEAT_DIM; 0: those of TIMM_NAME. MoCo v3's "
            "ViT-S has 12, others 6, and the weights have the same shapes",
        ),
        ("PRETRAIN_GRID", (), GRID, "Grid of PRETRAIN_PATH's position embeddings, as (16, 8)"),
        (
            "POSITIONS",
            RANDOM,
            one_of(*POSITIONS),
            "Position embeddings before training, from random weights: random as in timm, or sines "
            "and cosines of row and column, which short trainings need. Both are trained",
        ),
        ("STEM", "patch", one_of(*STEMS), "patch: one convolution; ics: TransReID-SSL's IBN stem"),
        ("SWIN", "tiny", one_of(*SWINS), "Size of build_swin_backbone's Swin Transformer"),
        (
            "SEMANTIC_WEIGHT",
            -1.0,
            number(-1, 1),
            "w of SOLIDER's controller in that Swin: 0.2 for ReID; negative for none",
        ),
        (
            "PART_TOKENS",
            0,
            whole(0),
            "Prefix tokens behind [cls], with positions of their own: 3 for PASS, 0 for none",
        ),
        ("DROP_PART_TOKENS", False, FLAG, "Leave out part tokens that a file has (PART_TOKENS 0)"),
        (
            "PROJECTION",
            0,
            whole(0),
            "P: CLIP's linear projection of [cls], for CLIPReIDHead; 512 for ViT-B, 0 for none",
        ),
        ("GRADIENT_CHECKPOINTING", False, FLAG, "Recompute the blocks to save memory", TRAIN),
    ),
    *section(
        "MODEL.SIE",
        ("CAMERA", False, FLAG, "Embed cameras (section 3.3)"),
        ("VIEW", False, FLAG, "Embed viewpoints (section 3.3)"),
        ("NUM_CAMERAS", 0, whole(0), "Cameras of the table; 0 for as many as the training set has"),
        (
            "NUM_VIEWS",
            0,
            whole(0),
            "Viewpoints of the table; 0 for as many as the training set has",
        ),
        (
            "UNKNOWN",
            "mean",
            one_of(*POLICIES),
            "Unknown camera or view: mean of the rows, zero (adds nothing), or error (refused)",
        ),
        ("CAMERA_DROPOUT", 0.0, RATE, "Probability, in training, that a camera counts as unknown"),
        (
            "TABLE",
            "joint",
            one_of(*TABLES),
            "With CAMERA and VIEW both on: joint, a row for each pair S_(C, V), as in the paper; "
            "or additive, S_C + S_V, C + V rows, for few images of each pair",
        ),
        (
            "TOKENS",
            "all",
            one_of(*SIE_TOKENS),
            "What side information is added to: all tokens (equation 4), or cls, [cls] alone, as "
            "CLIP-ReID does",
        ),
    ),
    *section(
        "MODEL.JPM",
        ("NUM_PARTS", 4, whole(1), "k: local parts (section 3.2), each with BNNeck and classifier"),
        ("SHIFT_NUM", 5, whole(1), "m: 5 for persons, 8 for vehicles (m - 1 patches move)"),
        ("SHUFFLE_GROUPS", 2, whole(1), "g: groups of the shuffle"),
        ("REARRANGE", True, FLAG, "False keeps the order of the patches (table 3: w/o rearrange)"),
        ("GLOBAL_ONLY", False, FLAG, "At test time f_g alone, D numbers; no parts are computed"),
    ),
    *section(
        "MODEL.HEADS",
        (
            "TEST_NECK_FEAT",
            "before",
            one_of(*TEST_NECK_FEATS),
            "Feature at test time: before (as released) or after the BNNeck, or centered, before "
            "less the mean over the training images that the BNNeck has stored: for models trained "
            "from random weights, whose features before share most of their length",
        ),
        (
            "PART_MIX",
            "cat",
            one_of(*MIXES),
            "PartTokenHead: [cls] and the mean of the part tokens side by side, or their mean",
        ),
        (
            "PART_NECKS",
            "each",
            one_of(*NECKS),
            "PartTokenHead: a BNNeck for each token, before they are mixed, or one for the mix",
        ),
    ),
    *section(
        "MODEL.LOSSES",
        (
            "GLOBAL_WEIGHT",
            1.0,
            number(0),
            "Weight of the losses on f_g (equation 6: 1; the released code, which made the "
            "reported numbers: 0.5)",
            TRAIN,
        ),
        ("LOCAL_WEIGHT", 1.0, number(0), "Weight of the mean of the losses on the parts", TRAIN),
    ),
    *section(
        "SOLVER",
        (
            "WARMUP_EPOCHS",
            5,
            whole(0),
            "Epochs of linear warm-up, part of the cosine of SOLVER.SCHED WarmupCosineLR; 20 for "
            "TransReID-SSL. SOLVER.WARMUP_FACTOR applies, SOLVER.WARMUP_ITERS must be 0",
            TRAIN,
        ),
        ("ETA_MIN_FACTOR", 0.002, PROBABILITY, "Last learning rate / SOLVER.BASE_LR", TRAIN),
        (
            "LAYER_DECAY",
            1.0,
            number(above=0, high=1),
            "Learning rate of a layer / that of the layer above it: blocks, patches and positions "
            "(BEiT); 1.0 for the same everywhere, 0.4 for HAP",
            TRAIN,
        ),
    ),
)


def add_transreid_config(cfg: CfgNode) -> None:
    """Add the keys of TransReID to a FastReID config, in place."""
    add_keys(cfg, KEYS)
