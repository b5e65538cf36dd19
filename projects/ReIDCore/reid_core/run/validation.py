"""Refuse runs that cannot work before they start, with the key, its value and the remedy.

Without these checks FastReID fails late, hangs for ever, or leaves a traceback that names no key.
"""

from __future__ import annotations

import difflib
import logging
import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from fastreid.data.datasets import DATASET_REGISTRY
from fastreid.data.transforms import build as transforms
from fastreid.engine import defaults
from fastreid.modeling.backbones import BACKBONE_REGISTRY
from fastreid.modeling.heads import REID_HEADS_REGISTRY
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY
from fastreid.utils import comm
from fastreid_compat.registry import fix
from fastreid_compat.repairs.checkpoints.pretrained import check_pretrain_path
from fastreid_compat.repairs.config.settings import resolve_device
from fastreid_compat.repairs.loading.samplers import check_instances
from fastreid_compat.repairs.loading.transforms import TRANSFORM_REGISTRY, transform_name
from fastreid_compat.repairs.training.mixed_precision import check_amp
from fastreid_compat.repairs.training.optimizer import usable_optimizers
from fastreid_compat.repairs.training.schedules import SCHEDULE_REGISTRY, check_schedule
from reid_common.errors import UserError

from ..data.filter_hook import check_filters
from ..data.names import check_distinct, dataset_class, split_name
from .compiling import check_compiler
from .evaluators import EVALUATOR_REGISTRY

logger = logging.getLogger(__name__)

IDENTITY_SAMPLERS = {"NaiveIdentitySampler", "BalancedIdentitySampler", "SetReWeightSampler"}
# A project whose trainer builds other samplers adds their names to this set.
SAMPLERS = {"TrainingSampler", "ImbalancedDatasetSampler", *IDENTITY_SAMPLERS}
# FastReID's own; those of projects are in SCHEDULE_REGISTRY.
SCHEDULERS = {"MultiStepLR", "CosineAnnealingLR"}
METRICS = {"cosine", "euclidean"}


def validate_config(cfg: Any, world_size: int | None = None, eval_only: bool = False) -> None:
    """Check the keys that training and evaluation need, without looking at the data.

    Args:
        cfg: FastReID's configuration, merged.
        world_size: number of processes; None asks the process group.
        eval_only: leave out what only training needs.

    Raises:
        UserError: the first value that cannot work: its key, the value and what to write instead.
    """
    world_size = world_size or comm.get_world_size()
    _check_names(cfg)
    _check_sizes(cfg)
    check_shares("TEST.IMS_PER_BATCH", cfg.TEST.IMS_PER_BATCH, world_size)
    if cfg.MODEL.get("COMPILE", False):
        check_compiler(resolve_device(cfg).partition(":")[0])
    transforms.build_transforms(cfg, is_train=False)
    if eval_only:
        return
    transforms.build_transforms(cfg, is_train=True)
    _check_training_names(cfg)
    _check_training_batch(cfg, world_size)
    check_schedule(cfg)
    check_amp(cfg)
    if cfg.MODEL.BACKBONE.PRETRAIN and cfg.MODEL.BACKBONE.PRETRAIN_PATH:
        check_pretrain_path(cfg.MODEL.BACKBONE.PRETRAIN_PATH)


def check_choice(key: str, value: str, choices: Iterable[str]) -> None:
    """Raise UserError, with the nearest name, when ``value`` is none of ``choices``."""
    names = sorted(choices)
    if value in names:
        return
    by_lower = {name.lower(): name for name in names}
    close = difflib.get_close_matches(str(value).lower(), by_lower, n=1)
    hint = f" Did you mean {by_lower[close[0]]!r}?" if close else ""
    raise UserError(f"{key}: {value!r} is unknown.{hint} Known: {', '.join(names)}.")


def _check_names(cfg: Any) -> None:
    model = cfg.MODEL
    check_choice("MODEL.META_ARCHITECTURE", model.META_ARCHITECTURE, META_ARCH_REGISTRY._obj_map)
    check_choice("MODEL.BACKBONE.NAME", model.BACKBONE.NAME, BACKBONE_REGISTRY._obj_map)
    check_choice("MODEL.HEADS.NAME", model.HEADS.NAME, REID_HEADS_REGISTRY._obj_map)
    check_choice("TEST.METRIC", cfg.TEST.METRIC, METRICS)
    check_choice("TEST.EVALUATOR", cfg.TEST.EVALUATOR, EVALUATOR_REGISTRY._obj_map)
    check_choice("INPUT.TRANSFORM", transform_name(cfg), TRANSFORM_REGISTRY._obj_map)
    for name in cfg.DATASETS.TESTS:
        check_dataset("DATASETS.TESTS", name)


def _check_training_names(cfg: Any) -> None:
    check_choice("SOLVER.OPT", cfg.SOLVER.OPT, usable_optimizers())
    check_choice("SOLVER.SCHED", cfg.SOLVER.SCHED, {*SCHEDULERS, *SCHEDULE_REGISTRY._obj_map})
    check_choice("DATALOADER.SAMPLER_TRAIN", cfg.DATALOADER.SAMPLER_TRAIN, SAMPLERS)
    for name in cfg.DATASETS.NAMES:
        check_dataset("DATASETS.NAMES", name)
    check_distinct(cfg.DATASETS.NAMES)
    check_filters(cfg)


def check_dataset(key: str, name: str) -> None:
    """Raise UserError when no data set ``name``, with its argument if any, is registered."""
    check_choice(key, split_name(name)[0], DATASET_REGISTRY._obj_map)
    dataset_class(name)


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


def _check_sizes(cfg: Any) -> None:
    for key in ("SIZE_TRAIN", "SIZE_TEST"):
        size = list(cfg.INPUT[key])
        if len(size) != 2 or not all(type(side) is int and side > 0 for side in size):
            raise UserError(
                f"INPUT.{key}: {size} is no image size. Write [height, width] in pixels, such as "
                "[256, 128]."
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
    since="always",
    symptom="values that cannot work: endless loops, divisions by zero, a KeyError without the key",
)
def config_validated() -> bool:
    """Call :func:`validate_config` before a trainer builds anything."""
    cls = defaults.DefaultTrainer
    original: Callable[[Any, Any], None] = cls.__init__

    def __init__(self: Any, cfg: Any) -> None:
        validate_config(cfg)
        original(self, cfg)

    cls.__init__ = __init__
    return True
