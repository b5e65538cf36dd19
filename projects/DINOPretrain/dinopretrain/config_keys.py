"""Config keys of pre-training.

Source of the values: Caron et al., ICCV 2021 (DINO); He et al., CVPR 2020, and Chen et al., 2020
(MoCo v2); Chen et al., ICCV 2021 (MoCo v3); Xie et al., 2021 (MoBY); Zhou et al., ICLR 2022 (iBOT);
and their released code.
"""

from __future__ import annotations

from functools import partial

from reid_core.config.declaration import Key, section
from reid_core.config.values import (
    FLAG,
    IMAGE_SIZE,
    PROBABILITY,
    Allowed,
    interval,
    number,
    one_of,
    sequence,
    whole,
)

from .modeling.moco_v3_backbone import POSITIONS
from .transforms.masks import SHAPES
from .transforms.recipes import CONTRASTIVE_VIEWS

JITTER = Allowed(
    "[brightness, contrast, saturation, hue], each 0 or more, hue at most 0.5",
    lambda value: sequence(number(0), 4).holds(value) and value[3] <= 0.5,
)
RATIOS = sequence(PROBABILITY, least=1, text="a list of numbers from 0 to 1, and at least one")
TRAIN = True  # only training reads it

key = partial(Key, training=True)

# Of DINO's and iBOT's views; those of MOCO.VIEWS have their own.
COLOUR_KEYS = (
    key(
        "DINO.COLOR_JITTER",
        [0.4, 0.4, 0.2, 0.1],
        JITTER,
        "Strength of the jitter of DINO's and IBOT's views: factors are drawn from 1 +- this, the "
        "hue's shift from +- this part of the circle",
    ),
    key("DINO.COLOR_JITTER_PROB", 0.8, PROBABILITY, "Share of their views with colour jitter"),
    key("DINO.GRAYSCALE_PROB", 0.2, PROBABILITY, "Share of their views without colours"),
)

DINO_KEYS = (
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
    *COLOUR_KEYS,
    key(
        "DINO.MAX_BAD_IMAGES",
        0.01,
        PROBABILITY,
        "Greatest share of images that cannot be read before the run ends",
    ),
)

KEYS = (
    *DINO_KEYS,
    *section(
        "MOCO",
        ("OUT_DIM", 256, whole(2), "C: dimensions of queries and keys; 128 for MoCo v2", TRAIN),
        ("HIDDEN_DIM", 4096, whole(1), "Width of the heads of MoCo v3 and MoBY", TRAIN),
        ("TEMPERATURE", 0.2, number(above=0), "tau; 1.0 for ResNets in MoCo v3", TRAIN),
        (
            "MOMENTUM",
            0.99,
            PROBABILITY,
            "m of the key encoder: constant in MoCo v2 (0.999), else at the start, by a cosine to "
            "1 at the end",
            TRAIN,
        ),
        (
            "QUEUE_SIZE",
            65536,
            whole(1),
            "K: keys in the queue of MoCo v2, or in each of MoBY's two (4096)",
            TRAIN,
        ),
        (
            "SHUFFLE_BN",
            True,
            FLAG,
            "MoCo v2: keys are encoded in another process than their queries, so that no "
            "BatchNorm's statistics give them away; changes nothing with one process",
            TRAIN,
        ),
        (
            "FREEZE_PATCHES",
            True,
            FLAG,
            "MoCo v3: leave a ViT's patch projection at its random values (stop-grad-conv1); not "
            "with a convolution stem",
            TRAIN,
        ),
        (
            "POSITIONS",
            "sincos",
            one_of(*POSITIONS),
            "Position embeddings of MoCo v3: sincos, fixed; sincos_released, the same but "
            "scrambled on grids that are not square, as the released code has them; learnt",
            TRAIN,
        ),
        (
            "VIEWS",
            "moco_v3",
            one_of(*CONTRASTIVE_VIEWS),
            "The two views: moco_v2, both alike; moco_v3, also MoBY's: the first always blurred, "
            "the second at times solarized; luperson, no colour jitter, but erasing",
            TRAIN,
        ),
        (
            "CLIP_GRADIENT",
            0.0,
            number(0),
            "Greatest norm of all gradients together; 5 in MoBY, 0 for no clipping",
            TRAIN,
        ),
        ("WARMUP_LR", 5e-7, number(0), "MoBY: first learning rate, per 512 images", TRAIN),
        ("MIN_LR", 5e-6, number(0), "MoBY: last learning rate, per 512 images", TRAIN),
    ),
    *section(
        "IBOT",
        (
            "SHARED_HEAD",
            True,
            FLAG,
            "One last layer of the head for [cls] and patches; False: one of their own for each, "
            "in student and teacher",
            TRAIN,
        ),
        ("PATCH_OUT_DIM", 8192, whole(2), "K2: outputs for patches, without SHARED_HEAD", TRAIN),
        ("CLS_WEIGHT", 1.0, number(0), "lambda 1, of the loss on [cls]", TRAIN),
        ("PATCH_WEIGHT", 1.0, number(0), "lambda 2, of the loss on hidden patches", TRAIN),
        ("WARMUP_TEACHER_PATCH_TEMP", 0.04, number(above=0), "tau2 at the start", TRAIN),
        (
            "TEACHER_PATCH_TEMP",
            0.07,
            number(above=0),
            "tau2 after DINO.WARMUP_TEACHER_TEMP_EPOCHS",
            TRAIN,
        ),
        ("CENTER_MOMENTUM", 0.9, PROBABILITY, "m of the patches' centre", TRAIN),
        (
            "MASK_RATIO",
            [0.0, 0.3],
            RATIOS,
            "Share of a view's patches that is hidden",
            TRAIN,
        ),
        (
            "MASK_RATIO_RANGE",
            [0.0, 0.2],
            RATIOS,
            "The share is drawn from MASK_RATIO +- this; as many as MASK_RATIO",
            TRAIN,
        ),
        ("MASK_SHAPE", "block", one_of(*SHAPES), "block: rectangles; rand: any patches", TRAIN),
        ("MASK_START_EPOCH", 0, whole(0), "Epochs without masks at the start", TRAIN),
    ),
)
