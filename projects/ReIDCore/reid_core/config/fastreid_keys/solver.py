"""Keys of FastReID: SOLVER."""

import math
from functools import partial

from fastreid_compat.repairs.training.optimizer import usable_optimizers
from fastreid_compat.repairs.training.schedules import SCHEDULE_REGISTRY

from ..declaration import existing
from ..values import FLAG, PROBABILITY, RATE, Allowed, number, one_of, registered, sequence, whole

# FastReID's own; those of projects are in SCHEDULE_REGISTRY.
SCHEDULERS = ("MultiStepLR", "CosineAnnealingLR")
NORM = number(above=0)

solver = partial(existing, training=True)

KEYS = (
    solver("SOLVER.AMP.ENABLED", FLAG, "Mixed precision"),
    solver(
        "SOLVER.AMP.DTYPE",
        one_of("auto", "fp16", "bf16"),
        "Type of mixed precision; auto is fp16 with CUDA, bf16 without",
    ),
    solver(
        "SOLVER.OPT",
        registered("an optimizer of torch.optim, or Lamb", usable_optimizers),
        "Optimizer",
    ),
    solver("SOLVER.MAX_EPOCH", whole(1), "Epochs of the run"),
    solver("SOLVER.BASE_LR", number(above=0), "Learning rate"),
    solver("SOLVER.HEADS_LR_FACTOR", number(0), "Times the learning rate for the head"),
    solver("SOLVER.BIAS_LR_FACTOR", number(0), "Times the learning rate for biases"),
    solver("SOLVER.MOMENTUM", RATE, "Momentum of SGD"),
    solver("SOLVER.NESTEROV", FLAG, "Nesterov momentum of SGD"),
    solver("SOLVER.WEIGHT_DECAY", number(0), "Weight decay"),
    solver("SOLVER.WEIGHT_DECAY_NORM", number(0), "Weight decay of normalisation layers"),
    solver("SOLVER.WEIGHT_DECAY_BIAS", number(0), "Weight decay of biases"),
    solver(
        "SOLVER.SCHED",
        registered(
            "MultiStepLR, CosineAnnealingLR or a name in SCHEDULE_REGISTRY",
            lambda: [*SCHEDULERS, *SCHEDULE_REGISTRY._obj_map],
        ),
        "Schedule of the learning rate",
    ),
    solver("SOLVER.DELAY_EPOCHS", whole(0), "Epochs before a cosine begins"),
    solver("SOLVER.GAMMA", number(above=0), "Factor of the learning rate at each of STEPS"),
    solver("SOLVER.STEPS", sequence(whole(0)), "Epochs at which MultiStepLR lowers the rate"),
    solver("SOLVER.ETA_MIN_LR", number(0), "Last learning rate of CosineAnnealingLR"),
    solver("SOLVER.WARMUP_FACTOR", PROBABILITY, "First learning rate of the warm-up / BASE_LR"),
    solver("SOLVER.WARMUP_ITERS", whole(0), "Iterations of FastReID's warm-up"),
    solver("SOLVER.WARMUP_METHOD", one_of("constant", "linear", "exp"), "Shape of the warm-up"),
    solver("SOLVER.FREEZE_ITERS", whole(0), "Iterations in which FREEZE_LAYERS stay frozen"),
    solver("SOLVER.CHECKPOINT_PERIOD", whole(1), "Epochs between two checkpoints"),
    solver("SOLVER.IMS_PER_BATCH", whole(1), "Images of a batch, in all processes together"),
    solver("SOLVER.CLIP_GRADIENTS.ENABLED", FLAG, "Clip the gradient of each parameter"),
    solver(
        "SOLVER.CLIP_GRADIENTS.CLIP_TYPE",
        one_of("norm", "value"),
        "Clip the norm of a gradient, or each of its numbers",
    ),
    solver("SOLVER.CLIP_GRADIENTS.CLIP_VALUE", number(above=0), "Greatest norm or value"),
    solver(
        "SOLVER.CLIP_GRADIENTS.NORM_TYPE",
        Allowed("a number above 0, or inf", lambda v: NORM.holds(v) or v == math.inf),
        "p of the norm",
    ),
)
