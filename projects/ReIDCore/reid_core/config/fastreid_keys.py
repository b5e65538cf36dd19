"""FastReID's own keys that a run reads: for each its section and name, what it may hold, and why.

Rows are (name, allowed, meaning); those that end in TRAIN are read by training alone.
"""

import math

from fastreid.layers import any_softmax, pooling
from fastreid.modeling.backbones import BACKBONE_REGISTRY
from fastreid.modeling.heads import REID_HEADS_REGISTRY
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY
from fastreid_compat.repairs.loading.transforms import TRANSFORM_REGISTRY
from fastreid_compat.repairs.training.optimizer import usable_optimizers
from fastreid_compat.repairs.training.schedules import SCHEDULE_REGISTRY

from . import values as v
from .declaration import existing

TRAIN = True
IDENTITY_SAMPLERS = ("NaiveIdentitySampler", "BalancedIdentitySampler", "SetReWeightSampler")
NAMES = {  # that no registry has; a project adds its own, see Project.names
    "MODEL.LOSSES.NAME": ["CrossEntropyLoss", "TripletLoss", "CircleLoss", "Cosface"],
    "MODEL.HEADS.CLS_LAYER": list(any_softmax.__all__),
    "DATALOADER.SAMPLER_TRAIN": ["TrainingSampler", "ImbalancedDatasetSampler", *IDENTITY_SAMPLERS],
    "SOLVER.OPT": list(usable_optimizers()),
}

TEXTS = v.sequence(v.TEXT, text="a list of texts")
STD = v.sequence(v.number(above=0), 3, "three numbers above 0, of red, green and blue, in 0..255")
NORMS = v.one_of("BN", "syncBN", "GhostBN", "FrozenBN", "GN", "")
STRIDE = v.sequence(v.whole(1), 2, "[rows, columns] in pixels, such as [16, 16]")
ARCHS = v.registered("a name in META_ARCH_REGISTRY", META_ARCH_REGISTRY._obj_map)
BACKBONES = v.registered("a name in BACKBONE_REGISTRY", BACKBONE_REGISTRY._obj_map)
HEADS = v.registered("a name in REID_HEADS_REGISTRY", REID_HEADS_REGISTRY._obj_map)
CLASSIFIERS = v.registered(
    f"{', '.join(any_softmax.__all__)}, or a classifier of a project's heads",
    lambda: NAMES["MODEL.HEADS.CLS_LAYER"],
)
LOSSES = v.sequence(
    v.registered("the name of a loss", lambda: NAMES["MODEL.LOSSES.NAME"]),
    text=f"a list of losses, of {', '.join(NAMES['MODEL.LOSSES.NAME'])}, and at least one",
    least=1,
)
EPSILON = v.Allowed(
    "a number from 0 to 1, or -1 for an adaptive one",
    lambda value: v.PROBABILITY.holds(value) or value == -1,
)
TRANSFORMS = v.registered("a name in TRANSFORM_REGISTRY", TRANSFORM_REGISTRY._obj_map)
PADDINGS = v.one_of("constant", "edge", "reflect", "symmetric")
FILL = v.sequence(v.number(), (1, 3), "a list of one number or of three, in 0..255")
DATASETS = v.sequence(v.TEXT, text="a list of names of data sets, such as ('Market1501',)")
SAMPLERS = v.registered(
    "a sampler: TrainingSampler, NaiveIdentitySampler, ...",
    lambda: NAMES["DATALOADER.SAMPLER_TRAIN"],
)
OPTIMIZERS = v.registered("an optimizer of torch.optim, or Lamb", lambda: NAMES["SOLVER.OPT"])
SCHEDULES = v.registered(
    "MultiStepLR, CosineAnnealingLR or a name in SCHEDULE_REGISTRY",
    lambda: ["MultiStepLR", "CosineAnnealingLR", *SCHEDULE_REGISTRY._obj_map],
)
NORM = v.Allowed(
    "a number above 0, or inf", lambda value: v.number(above=0).holds(value) or value == math.inf
)

KEYS = (
    *existing(
        "",
        ("OUTPUT_DIR", v.TEXT, "Folder of checkpoints, logs and results"),
        (
            "SEED",
            v.whole(-1),
            "Seed of weights, sampling and augmentation (rank r starts from SEED + r); -1 draws "
            "another one in every run",
        ),
        ("CUDNN_BENCHMARK", v.FLAG, "Let cuDNN look for its fastest algorithms"),
    ),
    *existing(
        "MODEL",
        ("DEVICE", v.DEVICE, "Of the model; CUDA that is absent becomes cpu, with a warning"),
        ("META_ARCHITECTURE", ARCHS, "Joins backbone, head, losses: Baseline, TransReID, DINO"),
        ("FREEZE_LAYERS", TEXTS, "Modules frozen for SOLVER.FREEZE_ITERS", TRAIN),
        ("QUEUE_SIZE", v.whole(1), "Features that MoCo's memory holds", TRAIN),
        ("WEIGHTS", v.TEXT, "Checkpoint to load; '' for none"),
        ("PIXEL_MEAN", v.COLOUR, "Mean that is subtracted from pixels 0..255"),
        ("PIXEL_STD", STD, "Standard deviation by which pixels are divided"),
    ),
    *existing(
        "MODEL.BACKBONE",
        ("NAME", BACKBONES, "Function that builds the backbone"),
        ("DEPTH", v.TEXT, "Size of a CNN, as in 18x, 50x, 101x for ResNet"),
        ("LAST_STRIDE", v.whole(1, 2), "Stride of a CNN's last stage"),
        ("FEAT_DIM", v.whole(1), "D: dimensions of the backbone's feature"),
        ("NORM", NORMS, "Normalisation of a CNN"),
        ("WITH_IBN", v.FLAG, "IBN blocks in a CNN"),
        ("WITH_SE", v.FLAG, "Squeeze and excitation in a CNN"),
        ("WITH_NL", v.FLAG, "Non-local blocks in a CNN"),
        ("SIE_COE", v.number(), "lambda: weight of the side information (TransReID, section 3.3)"),
        ("STRIDE_SIZE", STRIDE, "Stride of a ViT's patches; below the patch size they overlap"),
        ("DROP_PATH_RATIO", v.RATE, "Highest stochastic depth of a ViT's blocks"),
        ("DROP_RATIO", v.RATE, "Dropout of a ViT's tokens"),
        ("ATT_DROP_RATE", v.RATE, "Dropout of a ViT's attention"),
        ("PRETRAIN", v.FLAG, "Start from pretrained weights", TRAIN),
        ("PRETRAIN_PATH", v.TEXT, "Pretrained weights; '' downloads those of the backbone", TRAIN),
    ),
    *existing(
        "MODEL.HEADS",
        ("NAME", HEADS, "Head on top of the backbone: EmbeddingHead, BNNeckHead, JPMHead, ..."),
        ("NORM", NORMS, "Normalisation of FastReID's BNNeck"),
        ("NUM_CLASSES", v.whole(0), "Identities of the training set; 0 takes their number from it"),
        ("EMBEDDING_DIM", v.whole(0), "Dimensions after a reduction; 0 for none"),
        ("WITH_BNNECK", v.FLAG, "BNNeck between feature and classifier"),
        ("NECK_FEAT", v.one_of("before", "after"), "Feature of the metric losses"),
        ("POOL_LAYER", v.one_of(*pooling.__all__), "Pooling of the feature map"),
        ("CLS_LAYER", CLASSIFIERS, "Kind of the classifier; AMSoftmax with BNNeckHead and JPMHead"),
        ("MARGIN", v.number(0), "Margin of the classifier", TRAIN),
        ("SCALE", v.number(above=0), "Scale of the classifier's logits", TRAIN),
    ),
    *existing(
        "KD",
        ("MODEL_CONFIG", TEXTS, "Config files of the teachers of distillation", TRAIN),
        ("MODEL_WEIGHTS", TEXTS, "Checkpoints of these teachers", TRAIN),
        ("EMA.ENABLED", v.FLAG, "Moving average of the student as a teacher", TRAIN),
        ("EMA.MOMENTUM", v.PROBABILITY, "Momentum of that average", TRAIN),
    ),
    *existing(
        "MODEL.LOSSES",
        ("NAME", LOSSES, "Losses of which the sum is trained", TRAIN),
        ("CE.EPSILON", EPSILON, "Label smoothing of CrossEntropyLoss", TRAIN),
        ("CE.ALPHA", v.PROBABILITY, "Strength of adaptive smoothing", TRAIN),
        ("CE.SCALE", v.number(0), "Weight of CrossEntropyLoss", TRAIN),
        ("TRI.MARGIN", v.number(0), "Margin of TripletLoss; 0 is the soft margin", TRAIN),
        ("TRI.NORM_FEAT", v.FLAG, "Cosine instead of Euclidean distances", TRAIN),
        ("TRI.HARD_MINING", v.FLAG, "Hardest pairs instead of weighted ones", TRAIN),
        ("TRI.SCALE", v.number(0), "Weight of TripletLoss", TRAIN),
        ("CIRCLE.MARGIN", v.number(0), "Margin of CircleLoss", TRAIN),
        ("CIRCLE.GAMMA", v.number(above=0), "Scale of CircleLoss' similarities", TRAIN),
        ("CIRCLE.SCALE", v.number(0), "Weight of CircleLoss", TRAIN),
        ("COSFACE.MARGIN", v.number(0), "Margin of Cosface", TRAIN),
        ("COSFACE.GAMMA", v.number(above=0), "Scale of Cosface's similarities", TRAIN),
        ("COSFACE.SCALE", v.number(0), "Weight of Cosface", TRAIN),
    ),
    *existing(
        "INPUT",
        ("SIZE_TRAIN", v.IMAGE_SIZE, "Size of an image in training"),
        ("SIZE_TEST", v.IMAGE_SIZE, "Size of an image at test time"),
        ("TRANSFORM", TRANSFORMS, "From an image to a tensor: FastReID's pipeline or a project's"),
        ("CROP.ENABLED", v.FLAG, "Random crops of the image, resized"),
        ("CROP.SIZE", v.IMAGE_SIZE, "Size of such a crop"),
        ("CROP.SCALE", v.interval(0, 1), "Part of the image's area in a crop", TRAIN),
        ("CROP.RATIO", v.interval(), "Width / height of a crop", TRAIN),
        ("FLIP.ENABLED", v.FLAG, "Horizontal flips", TRAIN),
        ("FLIP.PROB", v.PROBABILITY, "Probability of a flip", TRAIN),
        ("PADDING.ENABLED", v.FLAG, "Padding, then a random crop of the old size", TRAIN),
        ("PADDING.MODE", PADDINGS, "What the padding is filled with", TRAIN),
        ("PADDING.SIZE", v.whole(0), "Padding on each side, in pixels", TRAIN),
        ("CJ.ENABLED", v.FLAG, "Colour jitter", TRAIN),
        ("CJ.PROB", v.PROBABILITY, "Probability of colour jitter", TRAIN),
        ("CJ.BRIGHTNESS", v.number(0), "Strength of the change of brightness", TRAIN),
        ("CJ.CONTRAST", v.number(0), "Strength of the change of contrast", TRAIN),
        ("CJ.SATURATION", v.number(0), "Strength of the change of saturation", TRAIN),
        ("CJ.HUE", v.number(0, 0.5), "Strength of the change of hue", TRAIN),
        ("AFFINE.ENABLED", v.FLAG, "Random rotation by up to 10 degrees, scale and shear", TRAIN),
        ("AUTOAUG.ENABLED", v.FLAG, "AutoAugment", TRAIN),
        ("AUTOAUG.PROB", v.PROBABILITY, "Probability of AutoAugment", TRAIN),
        ("AUGMIX.ENABLED", v.FLAG, "AugMix", TRAIN),
        ("AUGMIX.PROB", v.PROBABILITY, "Probability of AugMix", TRAIN),
        ("REA.ENABLED", v.FLAG, "Random erasing", TRAIN),
        ("REA.PROB", v.PROBABILITY, "Probability of random erasing", TRAIN),
        ("REA.VALUE", FILL, "Colour of the erased part", TRAIN),
        ("RPT.ENABLED", v.FLAG, "Random patches of other images", TRAIN),
        ("RPT.PROB", v.PROBABILITY, "Probability of a random patch", TRAIN),
    ),
    *existing(
        "DATASETS",
        ("NAMES", DATASETS, "Training sets, with an argument after a colon if any", TRAIN),
        ("TESTS", DATASETS, "Test sets"),
        ("COMBINEALL", v.FLAG, "Train on the test images as well", TRAIN),
    ),
    *existing(
        "DATALOADER",
        ("SAMPLER_TRAIN", SAMPLERS, "Order of the training images", TRAIN),
        ("NUM_INSTANCE", v.whole(1), "K: images of an identity in a batch", TRAIN),
        ("NUM_WORKERS", v.whole(0), "Processes that load images; 0: the training process does"),
        (
            "SET_WEIGHT",
            v.sequence(v.whole(0)),
            "SetReWeightSampler: identities of each camera in a group",
            TRAIN,
        ),
    ),
    *existing(
        "SOLVER",
        ("AMP.ENABLED", v.FLAG, "Mixed precision", TRAIN),
        (
            "AMP.DTYPE",
            v.one_of("auto", "fp16", "bf16", "measured"),
            "auto: bf16 where it is native, fp16 on other GPUs, else fp32; measured: CPUs by time",
            TRAIN,
        ),
        ("OPT", OPTIMIZERS, "Optimizer; of MoCo and MoBY also LARS", TRAIN),
        ("MAX_EPOCH", v.whole(1), "Epochs of the run", TRAIN),
        ("BASE_LR", v.number(above=0), "Learning rate", TRAIN),
        ("HEADS_LR_FACTOR", v.number(0), "Times the learning rate for the head", TRAIN),
        ("BIAS_LR_FACTOR", v.number(0), "Times the learning rate for biases", TRAIN),
        ("MOMENTUM", v.RATE, "Momentum of SGD", TRAIN),
        ("NESTEROV", v.FLAG, "Nesterov momentum of SGD", TRAIN),
        ("WEIGHT_DECAY", v.number(0), "Weight decay", TRAIN),
        ("WEIGHT_DECAY_NORM", v.number(0), "Weight decay of normalisation layers", TRAIN),
        ("WEIGHT_DECAY_BIAS", v.number(0), "Weight decay of biases", TRAIN),
        ("SCHED", SCHEDULES, "Schedule of the learning rate", TRAIN),
        ("DELAY_EPOCHS", v.whole(0), "Epochs before a cosine begins", TRAIN),
        ("GAMMA", v.number(above=0), "Factor of the learning rate at each of STEPS", TRAIN),
        ("STEPS", v.sequence(v.whole(0)), "Epochs at which MultiStepLR lowers the rate", TRAIN),
        ("ETA_MIN_LR", v.number(0), "Last learning rate of CosineAnnealingLR", TRAIN),
        ("WARMUP_FACTOR", v.PROBABILITY, "First learning rate of the warm-up / BASE_LR", TRAIN),
        ("WARMUP_ITERS", v.whole(0), "Iterations of FastReID's warm-up", TRAIN),
        ("WARMUP_METHOD", v.one_of("constant", "linear", "exp"), "Shape of the warm-up", TRAIN),
        ("FREEZE_ITERS", v.whole(0), "Iterations in which FREEZE_LAYERS stay frozen", TRAIN),
        ("CHECKPOINT_PERIOD", v.whole(1), "Epochs between two checkpoints", TRAIN),
        ("IMS_PER_BATCH", v.whole(1), "Images of a batch, in all processes together", TRAIN),
        ("CLIP_GRADIENTS.ENABLED", v.FLAG, "Clip the gradient of each parameter", TRAIN),
        (
            "CLIP_GRADIENTS.CLIP_TYPE",
            v.one_of("norm", "value"),
            "Clip each gradient's norm or numbers",
            TRAIN,
        ),
        ("CLIP_GRADIENTS.CLIP_VALUE", v.number(above=0), "Greatest norm or value", TRAIN),
        ("CLIP_GRADIENTS.NORM_TYPE", NORM, "p of the norm", TRAIN),
    ),
    *existing(
        "TEST",
        ("EVAL_PERIOD", v.whole(0), "Epochs between two evaluations; 0 for none", TRAIN),
        ("IMS_PER_BATCH", v.whole(1), "Images of a batch, in all processes together"),
        ("METRIC", v.one_of("cosine", "euclidean"), "Distance of two features"),
        ("ROC.ENABLED", v.FLAG, "TPR at several FPR as well"),
        ("FLIP.ENABLED", v.FLAG, "Add the feature of the flipped image"),
        ("AQE.ENABLED", v.FLAG, "Average query expansion"),
        ("AQE.ALPHA", v.number(0), "Power of the similarity that weighs a neighbour"),
        ("AQE.QE_TIME", v.whole(1), "How often it is applied"),
        ("AQE.QE_K", v.whole(1), "Neighbours of the mean"),
        ("RERANK.ENABLED", v.FLAG, "k-reciprocal re-ranking"),
        ("RERANK.K1", v.whole(1), "Neighbours whose reciprocity counts"),
        ("RERANK.K2", v.whole(1), "Neighbours of the local query expansion"),
        ("RERANK.LAMBDA", v.PROBABILITY, "Weight of the original distance"),
        ("PRECISE_BN.ENABLED", v.FLAG, "Measure statistics of BatchNorm again", TRAIN),
        ("PRECISE_BN.DATASET", v.TEXT, "Data set for that", TRAIN),
        ("PRECISE_BN.NUM_ITER", v.whole(1), "Batches for that", TRAIN),
    ),
)
