"""From a config to the loader of views."""

from __future__ import annotations

import logging

import torch
from fastreid.config import CfgNode
from fastreid.utils import comm
from fastreid_compat.repairs.loading.prefetch import PrefetchLoader
from fastreid_compat.repairs.loading.reproducible import SeededBatchSampler
from reid_common.errors import UserError
from reid_core.data.filter_hook import chosen_items
from reid_core.data.opened_sets import opened_set

from ..transforms.views import MultiCrop, use_one_thread
from .images import ChainedImages, FileImages, SelectedImages, UnlabelledImages
from .multi_crop_dataset import MultiCropDataset, collate_views
from .path_list import PathList
from .sampler import EpochSampler

logger = logging.getLogger(__name__)


def open_images(cfg: CfgNode, name: str) -> UnlabelledImages:
    """Open the training images of a data set without labels, or of any of FastReID's.

    Raises:
        UserError: it is unknown, missing, damaged, or has no training images.
    """
    opened = opened_set(name, combineall=bool(cfg.DATASETS.COMBINEALL))
    images = getattr(opened.data, "images", None)
    if isinstance(images, UnlabelledImages):
        return images
    if opened.train_missing:
        raise opened.train_missing
    return FileImages(PathList.from_iterable(opened.train.paths))


def training_images(cfg: CfgNode) -> UnlabelledImages:
    """Open all images of DATASETS.NAMES, and keep those that DATASETS.FILTERS keep.

    Raises:
        UserError: no data set is named, one cannot be opened, or the filters leave too few images.
    """
    if not cfg.DATASETS.NAMES:
        raise UserError("DATASETS.NAMES is empty; name the images to train on")
    sources = [open_images(cfg, name) for name in cfg.DATASETS.NAMES]
    for name, source in zip(cfg.DATASETS.NAMES, sources, strict=True):
        logger.info("%s: %d images", name, len(source))
    images = sources[0] if len(sources) == 1 else ChainedImages(sources)
    kept = chosen_items(cfg, images)
    return images if kept is None else SelectedImages(images, torch.from_numpy(kept))


def build_pretraining_loader(cfg: CfgNode) -> PrefetchLoader:
    """Build the endless loader of batches of views, see :func:`collate_views`.

    It is repeatable by SEED and can be resumed anywhere, as FastReID's with fastreid_compat.
    """
    dataset = MultiCropDataset(training_images(cfg), MultiCrop(cfg))
    seed = cfg.SEED if cfg.get("SEED", -1) >= 0 else int(comm.shared_random_seed())
    batch_sampler = SeededBatchSampler(
        EpochSampler(len(dataset), shuffle=True, seed=seed),
        cfg.SOLVER.IMS_PER_BATCH // comm.get_world_size(),
        drop_last=True,
        seed=seed,
        rank=comm.get_rank(),
    )
    return PrefetchLoader(
        comm.get_local_rank(),
        dataset=dataset,
        num_workers=cfg.DATALOADER.NUM_WORKERS,
        batch_sampler=batch_sampler,
        collate_fn=collate_views,
        pin_memory=True,
        worker_init_fn=use_one_thread,
    )
