"""Keys of FastReID: the run, MODEL with backbone and head, KD."""

from fastreid.layers import any_softmax, pooling
from fastreid.modeling.backbones import BACKBONE_REGISTRY
from fastreid.modeling.heads import REID_HEADS_REGISTRY
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY

from ..declaration import existing
from ..values import (
    COLOUR,
    DEVICE,
    FLAG,
    PROBABILITY,
    RATE,
    TEXT,
    number,
    one_of,
    registered,
    sequence,
    whole,
)

NORMS = one_of("BN", "syncBN", "GhostBN", "FrozenBN", "GN", "")
# A project whose heads know other classifiers adds their names.
CLASSIFIERS = set(any_softmax.__all__)
TEXTS = sequence(TEXT, text="a list of texts")

KEYS = (
    existing("OUTPUT_DIR", TEXT, "Folder of checkpoints, logs and results"),
    existing(
        "SEED",
        whole(-1),
        "Seed of weights, sampling and augmentation (rank r starts from SEED + r); -1 draws "
        "another one in every run",
    ),
    existing("CUDNN_BENCHMARK", FLAG, "Let cuDNN look for its fastest algorithms"),
    existing(
        "MODEL.DEVICE",
        DEVICE,
        "Device of the model; CUDA that is absent becomes cpu, with a warning",
        shown_default="`cuda`, `cpu` without CUDA",
    ),
    existing(
        "MODEL.META_ARCHITECTURE",
        registered("a name in META_ARCH_REGISTRY", META_ARCH_REGISTRY._obj_map),
        "What joins backbone, head and losses: Baseline, TransReID, DINO, ...",
    ),
    existing("MODEL.FREEZE_LAYERS", TEXTS, "Modules frozen for SOLVER.FREEZE_ITERS", True),
    existing("MODEL.QUEUE_SIZE", whole(1), "Features that MoCo's memory holds", True),
    existing("MODEL.WEIGHTS", TEXT, "Checkpoint to load; '' for none"),
    existing("MODEL.PIXEL_MEAN", COLOUR, "Mean that is subtracted from pixels 0..255"),
    existing(
        "MODEL.PIXEL_STD",
        sequence(number(above=0), 3, "three numbers above 0, of red, green and blue, in 0..255"),
        "Standard deviation by which pixels are divided",
    ),
    existing(
        "MODEL.BACKBONE.NAME",
        registered("a name in BACKBONE_REGISTRY", BACKBONE_REGISTRY._obj_map),
        "Function that builds the backbone",
    ),
    existing("MODEL.BACKBONE.DEPTH", TEXT, "Size of a CNN, as in 18x, 50x, 101x for ResNet"),
    existing("MODEL.BACKBONE.LAST_STRIDE", whole(1, 2), "Stride of a CNN's last stage"),
    existing("MODEL.BACKBONE.FEAT_DIM", whole(1), "D: dimensions of the backbone's feature"),
    existing("MODEL.BACKBONE.NORM", NORMS, "Normalisation of a CNN"),
    existing("MODEL.BACKBONE.WITH_IBN", FLAG, "IBN blocks in a CNN"),
    existing("MODEL.BACKBONE.WITH_SE", FLAG, "Squeeze and excitation in a CNN"),
    existing("MODEL.BACKBONE.WITH_NL", FLAG, "Non-local blocks in a CNN"),
    existing(
        "MODEL.BACKBONE.SIE_COE",
        number(),
        "lambda: weight of the side information embedding (TransReID, section 3.3)",
    ),
    existing(
        "MODEL.BACKBONE.STRIDE_SIZE",
        sequence(whole(1), 2, "[rows, columns] in pixels, such as [16, 16]"),
        "Stride of a ViT's patches; below the patch size they overlap",
    ),
    existing("MODEL.BACKBONE.DROP_PATH_RATIO", RATE, "Highest stochastic depth of a ViT's blocks"),
    existing("MODEL.BACKBONE.DROP_RATIO", RATE, "Dropout of a ViT's tokens"),
    existing("MODEL.BACKBONE.ATT_DROP_RATE", RATE, "Dropout of a ViT's attention"),
    existing("MODEL.BACKBONE.PRETRAIN", FLAG, "Start from pretrained weights", True),
    existing(
        "MODEL.BACKBONE.PRETRAIN_PATH",
        TEXT,
        "File of pretrained weights; '' downloads those of the backbone's name",
        True,
    ),
    existing(
        "MODEL.HEADS.NAME",
        registered("a name in REID_HEADS_REGISTRY", REID_HEADS_REGISTRY._obj_map),
        "Head on top of the backbone: EmbeddingHead, BNNeckHead, JPMHead, ...",
    ),
    existing("MODEL.HEADS.NORM", NORMS, "Normalisation of FastReID's BNNeck"),
    existing(
        "MODEL.HEADS.NUM_CLASSES",
        whole(0),
        "Identities of the training set; 0 takes their number from it",
    ),
    existing("MODEL.HEADS.EMBEDDING_DIM", whole(0), "Dimensions after a reduction; 0 for none"),
    existing("MODEL.HEADS.WITH_BNNECK", FLAG, "BNNeck between feature and classifier"),
    existing("MODEL.HEADS.NECK_FEAT", one_of("before", "after"), "Feature of the metric losses"),
    existing("MODEL.HEADS.POOL_LAYER", one_of(*pooling.__all__), "Pooling of the feature map"),
    existing(
        "MODEL.HEADS.CLS_LAYER",
        registered(
            f"{', '.join(any_softmax.__all__)}, or a classifier of a project's heads",
            lambda: CLASSIFIERS,
        ),
        "Kind of the classifier; AMSoftmax with BNNeckHead and JPMHead",
    ),
    existing("MODEL.HEADS.MARGIN", number(0), "Margin of the classifier", True),
    existing("MODEL.HEADS.SCALE", number(above=0), "Scale of the classifier's logits", True),
    existing("KD.MODEL_CONFIG", TEXTS, "Config files of the teachers of distillation", True),
    existing("KD.MODEL_WEIGHTS", TEXTS, "Checkpoints of these teachers", True),
    existing("KD.EMA.ENABLED", FLAG, "Moving average of the student as a teacher", True),
    existing("KD.EMA.MOMENTUM", PROBABILITY, "Momentum of that average", True),
)
