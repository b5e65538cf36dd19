"""Batches of P clusters with K images, from several cameras, alike in any number of processes."""

from __future__ import annotations

import numpy as np
import pytest
from clustercontrast.data.samplers import (
    CameraClusterSampler,
    ClusterBatches,
    ClusterSampler,
)
from reid_common.errors import UserError

#          cluster 0    cluster 1    outlier, cluster 2 (one image), cluster 3 (one camera)
LABELS = np.array([0, 0, 0, 0, 1, 1, 1, -1, 2, 3, 3, 3])
CAMERAS = np.array([0, 0, 1, 2, 5, 5, 6, 0, 0, 4, 4, 4])


def drawn(sampler: ClusterSampler, seed: int = 0) -> list[list[int]]:
    """One round, cluster by cluster."""
    images = sampler.round(np.random.default_rng(seed))
    found: list[list[int]] = []
    for image in images:
        if not found or LABELS[image] != LABELS[found[-1][0]]:
            found.append([])
        found[-1].append(image)
    return found


@pytest.mark.parametrize("kind", [ClusterSampler, CameraClusterSampler])
def test_each_cluster_once_with_k_images(kind) -> None:
    for seed in range(20):
        found = drawn(kind(LABELS, 3, CAMERAS), seed)
        assert sorted(LABELS[images[0]] for images in found) == [0, 1, 2, 3]
        for images in found:
            assert len(images) == (1 if LABELS[images[0]] == 2 else 3)
            assert images[0] not in images[1:]
            assert 7 not in images, "an outlier"


def test_others_come_from_other_cameras() -> None:
    for seed in range(20):
        for anchor, *others in drawn(CameraClusterSampler(LABELS, 3, CAMERAS), seed):
            if LABELS[anchor] in (0, 1):
                assert all(CAMERAS[other] != CAMERAS[anchor] for other in others)
            if LABELS[anchor] == 3:  # one camera: any other image of it
                assert all(LABELS[other] == 3 for other in others)


def test_without_replacement_where_there_are_k() -> None:
    sampler = ClusterSampler(np.zeros(9, int), 4, np.zeros(9, int))
    for seed in range(20):
        assert len(set(sampler.round(np.random.default_rng(seed)))) == 4


def test_without_cameras_they_may_be_the_same() -> None:
    pairs = [
        CAMERAS[images[0]] == CAMERAS[images[1]]
        for seed in range(20)
        for images in drawn(ClusterSampler(LABELS, 3, CAMERAS), seed)
        if LABELS[images[0]] == 0
    ]
    assert any(pairs) and not all(pairs)


def batches(seed: int = 1, rank: int = 0, world_size: int = 1) -> list[list[int]]:
    sampler = CameraClusterSampler(LABELS, 2, CAMERAS)
    return list(ClusterBatches(sampler, 4, 5, seed, rank, world_size))


def test_batches_are_whole_and_repeatable() -> None:
    assert [len(batch) for batch in batches()] == [4] * 5
    assert batches() == batches() != batches(seed=2)


def test_processes_share_a_batch_in_the_order_of_ranks() -> None:
    """Also what augmentation starts from is that of one process."""
    parts = [batches(rank=rank, world_size=2) for rank in range(2)]
    for whole, first, second in zip(batches(), *parts, strict=True):
        assert [*first, *second] == whole
        assert [i.entropy for i in (*first, *second)] == [i.entropy for i in whole]
    positions = [index.entropy[2] for batch in batches() for index in batch]
    assert positions == list(range(20))


def test_too_few_clusters_for_a_batch() -> None:
    sampler = ClusterSampler(LABELS, 2, CAMERAS)
    with pytest.raises(UserError, match=r"4 clusters .* batch of 8 .* to at most 6"):
        ClusterBatches(sampler, 8, 1, 0)
    with pytest.raises(UserError, match="0 clusters"):
        ClusterBatches(ClusterSampler(np.full(5, -1), 2, CAMERAS), 8, 1, 0)
