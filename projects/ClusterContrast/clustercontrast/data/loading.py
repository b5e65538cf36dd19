"""Loaders: of the images of one epoch, and of all images for extraction."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from fastreid.config import CfgNode
from fastreid.data import build as data_build
from fastreid.utils import comm
from fastreid_compat.repairs.loading.prefetch import PrefetchLoader, finish_of
from fastreid_compat.repairs.loading.reproducible import SeededBatchSampler

from .images import PseudoLabelled, TrainingImages
from .samplers import SAMPLERS, ClusterBatches


class WaitingLoader:
    """Stands in for the loader until the first pseudo labels are there; it has no batches.

    Attributes:
        dataset: the images, as FastReID's trainer asks for it.
        batch_sampler: lets a resumed run move it; each epoch has a loader of its own.
    """

    def __init__(self, images: TrainingImages) -> None:
        self.images = images
        self.dataset = self
        self.num_classes = 0  # a classifier is not needed
        self.batch_sampler = SeededBatchSampler([], 1, True, 0, 0)  # type: ignore[arg-type]

    def __len__(self) -> int:
        return len(self.images)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(())


def epoch_loader(
    cfg: CfgNode, images: TrainingImages, labels: np.ndarray, seed: int
) -> PrefetchLoader:
    """Build the loader of one epoch.

    Args:
        cfg: reads SOLVER.IMS_PER_BATCH, CLUSTER.ITERATIONS and DATALOADER.
        images: N of them.
        labels: (N,) pseudo labels.
        seed: of this epoch.

    Raises:
        UserError: too few clusters for a batch.
    """
    options = cfg.DATALOADER
    sampler = SAMPLERS[options.SAMPLER_TRAIN](labels, options.NUM_INSTANCE, images.cameras)
    batches = ClusterBatches(
        sampler,
        cfg.SOLVER.IMS_PER_BATCH,
        cfg.CLUSTER.ITERATIONS,
        seed,
        comm.get_rank(),
        comm.get_world_size(),
    )
    dataset = PseudoLabelled(images.dataset(is_train=True), labels)
    return _loader(cfg, dataset, batches)


def extraction_loader(cfg: CfgNode, images: TrainingImages) -> tuple[PrefetchLoader, list[int]]:
    """Build the loader of this process's share of all images, in the transform of test.

    Whole batches are dealt out, so that a batch, and with it each feature, is the same whatever
    the number of processes.

    Returns:
        The loader, and the index of each image that it gives, in its order.
    """
    size = cfg.TEST.IMS_PER_BATCH
    rows = range(len(images))
    batches = [list(rows[start : start + size]) for start in range(0, len(rows), size)]
    own = batches[comm.get_rank() :: comm.get_world_size()]
    loader = _loader(cfg, images.dataset(is_train=False), own)
    return loader, [index for batch in own for index in batch]


def _loader(cfg: CfgNode, dataset: Any, batches: Sequence[list[int]] | Any) -> PrefetchLoader:
    return PrefetchLoader(
        comm.get_local_rank(),
        dataset=dataset,
        num_workers=cfg.DATALOADER.NUM_WORKERS,
        batch_sampler=batches,
        collate_fn=data_build.fast_batch_collator,
        pin_memory=True,
        finish=finish_of(dataset),
    )
