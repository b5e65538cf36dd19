"""Keys of FastReID: INPUT, DATASETS, DATALOADER."""

from functools import partial

from fastreid_compat.repairs.loading.transforms import TRANSFORM_REGISTRY

from ..declaration import existing
from ..samplers import SAMPLERS
from ..values import (
    FLAG,
    IMAGE_SIZE,
    PROBABILITY,
    TEXT,
    interval,
    number,
    one_of,
    registered,
    sequence,
    whole,
)

NAMES = sequence(TEXT, text="a list of names of data sets, such as ('Market1501',)")
FILL = sequence(number(), (1, 3), "a list of one number or of three, in 0..255")

train = partial(existing, training=True)

KEYS = (
    existing("INPUT.SIZE_TRAIN", IMAGE_SIZE, "Size of an image in training"),
    existing("INPUT.SIZE_TEST", IMAGE_SIZE, "Size of an image at test time"),
    existing(
        "INPUT.TRANSFORM",
        registered("a name in TRANSFORM_REGISTRY", TRANSFORM_REGISTRY._obj_map),
        "From an image to a tensor: FastReID's pipeline or that of a project",
    ),
    existing("INPUT.CROP.ENABLED", FLAG, "Random crops of the image, resized"),
    existing("INPUT.CROP.SIZE", IMAGE_SIZE, "Size of such a crop"),
    train("INPUT.CROP.SCALE", interval(0, 1), "Part of the image's area in a crop"),
    train("INPUT.CROP.RATIO", interval(), "Width / height of a crop"),
    train("INPUT.FLIP.ENABLED", FLAG, "Horizontal flips"),
    train("INPUT.FLIP.PROB", PROBABILITY, "Probability of a flip"),
    train("INPUT.PADDING.ENABLED", FLAG, "Padding, then a random crop of the old size"),
    train(
        "INPUT.PADDING.MODE",
        one_of("constant", "edge", "reflect", "symmetric"),
        "What the padding is filled with",
    ),
    train("INPUT.PADDING.SIZE", whole(0), "Padding on each side, in pixels"),
    train("INPUT.CJ.ENABLED", FLAG, "Colour jitter"),
    train("INPUT.CJ.PROB", PROBABILITY, "Probability of colour jitter"),
    train("INPUT.CJ.BRIGHTNESS", number(0), "Strength of the change of brightness"),
    train("INPUT.CJ.CONTRAST", number(0), "Strength of the change of contrast"),
    train("INPUT.CJ.SATURATION", number(0), "Strength of the change of saturation"),
    train("INPUT.CJ.HUE", number(0, 0.5), "Strength of the change of hue"),
    train("INPUT.AFFINE.ENABLED", FLAG, "Random rotation by up to 10 degrees, scale and shear"),
    train("INPUT.AUTOAUG.ENABLED", FLAG, "AutoAugment"),
    train("INPUT.AUTOAUG.PROB", PROBABILITY, "Probability of AutoAugment"),
    train("INPUT.AUGMIX.ENABLED", FLAG, "AugMix"),
    train("INPUT.AUGMIX.PROB", PROBABILITY, "Probability of AugMix"),
    train("INPUT.REA.ENABLED", FLAG, "Random erasing"),
    train("INPUT.REA.PROB", PROBABILITY, "Probability of random erasing"),
    train("INPUT.REA.VALUE", FILL, "Colour of the erased part"),
    train("INPUT.RPT.ENABLED", FLAG, "Random patches of other images"),
    train("INPUT.RPT.PROB", PROBABILITY, "Probability of a random patch"),
    train("DATASETS.NAMES", NAMES, "Training sets, with an argument after a colon if any"),
    existing("DATASETS.TESTS", NAMES, "Test sets"),
    train("DATASETS.COMBINEALL", FLAG, "Train on the test images as well"),
    train(
        "DATALOADER.SAMPLER_TRAIN",
        registered("a sampler: TrainingSampler, NaiveIdentitySampler, ...", lambda: SAMPLERS),
        "Order of the training images",
    ),
    train("DATALOADER.NUM_INSTANCE", whole(1), "K: images of an identity in a batch"),
    existing(
        "DATALOADER.NUM_WORKERS",
        whole(0),
        "Processes that load images; 0 loads them in the training process",
    ),
    train(
        "DATALOADER.SET_WEIGHT",
        sequence(whole(0)),
        "SetReWeightSampler: identities of each camera in a group",
    ),
)
