"""Batches of P clusters with K images each.

Source: the released code of Dai et al. (2021): all clusters in random order, each with an anchor
and K - 1 other images of it, which :class:`CameraClusterSampler` takes from other cameras. That
uses camera ids, which are known without labels; :class:`ClusterSampler` does without them.

Letters: N images, M clusters, B images of a batch.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from fastreid_compat.repairs.loading.reproducible import SeededIndex
from reid_common.errors import UserError
from torch.utils.data import Sampler


class ClusterSampler:
    """Draws rounds of all clusters, K images of each.

    Args:
        labels: (N,) int64 pseudo labels, -1 for images that are left out.
        instances: K.
        cameras: (N,) camera of each image; not looked at here.
    """

    def __init__(self, labels: np.ndarray, instances: int, cameras: np.ndarray) -> None:
        self.labels, self.instances, self.cameras = labels, instances, cameras
        order = np.argsort(labels, kind="stable")
        sizes = np.bincount(labels[labels >= 0])
        kept = order[len(labels) - int(sizes.sum()) :]
        self.clusters = np.split(kept, np.cumsum(sizes)[:-1]) if len(sizes) else []

    def round(self, random: np.random.Generator) -> list[int]:
        """Indices of one round, cluster by cluster; a cluster of one image gives one."""
        drawn: list[int] = []
        for cluster in random.permutation(len(self.clusters)).tolist():
            images = self.clusters[cluster]
            anchor = int(random.choice(images))
            drawn.append(anchor)
            others = self.others(images, anchor)
            if len(others):
                few = len(others) < self.instances
                chosen = random.choice(others, self.instances - 1, replace=few)
                drawn += chosen.tolist()
        return drawn

    def others(self, images: np.ndarray, anchor: int) -> np.ndarray:
        """Images of a cluster that may stand beside the anchor."""
        return images[images != anchor]


class CameraClusterSampler(ClusterSampler):
    """Takes the other images from other cameras than the anchor's, where the cluster has some."""

    def others(self, images: np.ndarray, anchor: int) -> np.ndarray:
        """Images under other cameras; those of the same one if there are no others."""
        elsewhere = images[self.cameras[images] != self.cameras[anchor]]
        return elsewhere if len(elsewhere) else super().others(images, anchor)


SAMPLERS = {"CameraClusterSampler": CameraClusterSampler, "ClusterSampler": ClusterSampler}


class ClusterBatches(Sampler[list[int]]):
    """A fixed number of batches of one epoch, of which a process gets its part.

    A round ends with its last whole batch. A process of rank r gets the r-th part of each batch, as
    a GPU of the released code does; what is drawn does not depend on how many processes there are.

    Args:
        sampler: gives the rounds.
        batch_size: B, of all processes together.
        num_batches: of the epoch.
        seed: of this epoch.
        rank: of this process.
        world_size: processes; B is a multiple.

    Raises:
        UserError: a round does not fill one batch.
    """

    def __init__(
        self,
        sampler: ClusterSampler,
        batch_size: int,
        num_batches: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.sampler, self.batch_size, self.num_batches = sampler, batch_size, num_batches
        self.seed, self.rank, self.world_size = seed, rank, world_size
        check_clusters([len(c) for c in sampler.clusters], batch_size, sampler.instances)

    def __len__(self) -> int:
        return self.num_batches

    def __iter__(self) -> Iterator[list[int]]:
        share = self.batch_size // self.world_size
        for number, batch in zip(range(self.num_batches), self._batches(), strict=False):
            first = self.rank * share
            start = number * self.batch_size
            yield [
                SeededIndex.of(batch[at], self.seed, 0, start + at)
                for at in range(first, first + share)
            ]

    def _batches(self) -> Iterator[list[int]]:
        random = np.random.default_rng(self.seed)
        while True:
            drawn, size = self.sampler.round(random), self.batch_size
            for start in range(0, len(drawn) - size + 1, size):
                yield drawn[start : start + size]


def check_clusters(sizes: list[int], batch_size: int, instances: int) -> None:
    """Raise UserError when clusters of these sizes do not fill one batch."""
    images = sum(instances if size > 1 else 1 for size in sizes)
    if images >= batch_size:
        return
    most = images // instances * instances
    remedy = f"at most {most}" if most else "a lower number"
    raise UserError(
        f"{len(sizes)} clusters with {instances} images each do not fill a batch of {batch_size} "
        f"images. Set SOLVER.IMS_PER_BATCH to {remedy}, raise DATALOADER.NUM_INSTANCE, or change "
        "CLUSTER.EPS (auto shows how many clusters each eps gives)"
    )
