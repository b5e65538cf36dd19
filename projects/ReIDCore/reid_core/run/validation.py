"""Refuse runs that cannot work before they start, with the key, its value and the remedy.

Without these checks FastReID fails late, hangs for ever, or leaves a traceback that names no key.
"""

from __future__ import annotations

import functools
import itertools
import logging
import os
import tempfile
from pathlib import Path
from typing import Any

from fastreid.data.transforms import build as transforms
from fastreid.engine import defaults
from fastreid.utils import comm
from fastreid_compat.registry import fix
from fastreid_compat.repairs.config.settings import resolve_device
from fastreid_compat.repairs.loading.samplers import check_instances
from reid_common.errors import UserError

from ..config.declaration import Rule, check_config
from ..config.fastreid_keys import IDENTITY_SAMPLERS
from ..config.projects import declared_keys, declared_rules
from ..data.filter_hook import check_filters
from ..data.names import check_distinct, dataset_class
from ..side_information.rows import CameraTable
from .compiling import check_compiler

logger = logging.getLogger(__name__)


def validate_config(cfg: Any, world_size: int | None = None, eval_only: bool = False) -> None:
    """Check every declared key and rule, without looking at the data.

    ``world_size`` is the number of processes; None asks the process group.

    Raises:
        UserError: the first value that cannot work: its key, the value and what to write instead.
    """
    world_size = world_size or comm.get_world_size()
    keys = itertools.chain.from_iterable(declared_keys().values())
    rules = [*RULES, *declared_rules(), *SLOW_RULES]
    check_config(cfg, keys, rules, training=not eval_only)
    check_shares("TEST.IMS_PER_BATCH", cfg.TEST.IMS_PER_BATCH, world_size)
    if not eval_only:
        _check_training_batch(cfg, world_size)


def _can_run(cfg: Any) -> None:
    for name in cfg.DATASETS.TESTS:
        dataset_class(name, "DATASETS.TESTS")
    CameraTable.parse(cfg.DATASETS.CAMERAS)
    if cfg.MODEL.COMPILE:
        check_compiler(resolve_device(cfg).partition(":")[0])


def _can_train(cfg: Any) -> None:
    for name in cfg.DATASETS.NAMES:
        dataset_class(name, "DATASETS.NAMES")
    check_distinct(cfg.DATASETS.NAMES)
    check_filters(cfg)


def _builds_transforms(cfg: Any, is_train: bool) -> None:
    transforms.build_transforms(cfg, is_train=is_train)


# They need what is above the config: data sets, the compiler.
RULES = (Rule((), _can_run), Rule((), _can_train, training=True))
# They import torchvision, which takes seconds: other answers do not wait for it.
SLOW_RULES = (
    Rule((), functools.partial(_builds_transforms, is_train=False)),
    Rule((), functools.partial(_builds_transforms, is_train=True), training=True),
)


def check_shares(key: str, batch: int, world_size: int) -> None:
    """Raise UserError when there are fewer images in a batch than processes."""
    if batch < world_size:
        raise UserError(
            f"{key}: {batch} images for {world_size} process(es) leave some of them none. Set it "
            f"to at least {world_size}."
        )


def _check_training_batch(cfg: Any, world_size: int) -> None:
    batch, instances = cfg.SOLVER.IMS_PER_BATCH, cfg.DATALOADER.NUM_INSTANCE
    check_shares("SOLVER.IMS_PER_BATCH", batch, world_size)
    if batch % world_size:
        raise UserError(
            f"SOLVER.IMS_PER_BATCH: {batch} images cannot be shared evenly by {world_size} "
            f"processes. Set it to a multiple, such as {batch // world_size * world_size}."
        )
    sampler = cfg.DATALOADER.SAMPLER_TRAIN
    if sampler not in IDENTITY_SAMPLERS:
        return
    check_instances(sampler, batch // world_size, instances)
    if instances == 1 and "TripletLoss" in cfg.MODEL.LOSSES.NAME:
        logger.warning(
            "DATALOADER.NUM_INSTANCE 1 gives TripletLoss no second image of an identity, so that "
            "it has no positive pairs to learn from. Set it to 2 or more; 4 is usual."
        )


def check_output_dir(folder: str) -> None:
    """Create ``folder`` and write 1 MiB to it: a run must not fail at its first checkpoint."""
    if not folder:
        return
    try:
        os.makedirs(folder, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(2**20))
    except OSError as error:
        raise UserError(
            f"OUTPUT_DIR: cannot write to {folder!r} ({error.strerror or error}). Set it to a "
            "folder where you may write, on a disk with free space."
        ) from error


def check_weights(path: str) -> None:
    """Raise UserError when ``MODEL.WEIGHTS`` names a file that is not there."""
    if path and "://" not in path and not Path(path).is_file():
        raise UserError(f"MODEL.WEIGHTS: there is no file {path!r}. Set it to a checkpoint (.pth).")


@fix(
    where="engine/defaults.py:190",
    symptom="values that cannot work: endless loops, divisions by zero, a KeyError without the key",
)
def config_validated() -> bool:
    """Call :func:`validate_config` before a trainer builds anything."""
    cls: Any = defaults.DefaultTrainer
    original = cls.__init__

    def __init__(self: Any, cfg: Any) -> None:
        validate_config(cfg)
        original(self, cfg)

    cls.__init__ = __init__
    return True
