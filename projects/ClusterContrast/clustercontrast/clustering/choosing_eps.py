"""Choose eps without labels, from the clusters that each of some values gives.

An eps is good where clusters are tight and far apart, and few images are left out. The silhouette
(Rousseeuw, 1987) says the first: (b - a) / max(a, b) of an image, a its mean distance within its
cluster and b to the next one. Outliers count as 0, which is the second. Where clusters stay as they
are when eps changes, ari_next is near 1.

Letters: N images, S of a sample.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from reid_common.errors import UserError
from scipy import sparse
from tabulate import tabulate

from .methods import Clustering
from .quality import rand_index, sizes

logger = logging.getLogger(__name__)

CANDIDATES = tuple(round(0.3 + 0.05 * step, 2) for step in range(11))  # 0.3 .. 0.8
SAMPLE = 2000
LARGEST = 0.5  # share of all images in one cluster above which an eps is not taken


@dataclass(frozen=True)
class Candidate:
    """What one eps gives; the fields are the columns of the table."""

    eps: float
    clusters: int
    outliers: float  # share of N
    largest: float  # share of N in the largest cluster
    ari_next: float  # to the labels of the next eps
    silhouette: float  # of the clustered images of a sample
    score: float  # silhouette, outliers counted as 0


def choose_eps(
    distances: sparse.csr_array,
    method: Clustering,
    min_samples: int,
    min_clusters: int = 2,
    candidates: Sequence[float] = CANDIDATES,
) -> tuple[float, list[Candidate]]:
    """Choose the eps of the highest score, the smaller one of two.

    Args:
        distances: (N, N) of all pairs within the largest of ``candidates`` at least.
        method: makes the clusters.
        min_samples: of it.
        min_clusters: fewer are no use.
        candidates: values of eps, ascending.

    Returns:
        The eps, and the table it was chosen from.

    Raises:
        UserError: none of them gives enough clusters; the table is in the message.
    """
    labels = [method(distances, eps, min_samples) for eps in candidates]
    table = [
        _candidate(distances, eps, own, after)
        for eps, own, after in zip(candidates, labels, [*labels[1:], labels[-1]], strict=True)
    ]
    usable = [row for row in table if row.clusters >= min_clusters and row.largest <= LARGEST]
    if not usable:
        raise UserError(
            f"CLUSTER.EPS auto: no eps gives {min_clusters} clusters of which none has more than "
            f"{100 * LARGEST:.0f}% of the images\n{format_table(table)}\nLower "
            "SOLVER.IMS_PER_BATCH, which needs fewer clusters, use more images, or start from "
            "weights that know persons (MODEL.BACKBONE.PRETRAIN_PATH)"
        )
    return max(usable, key=lambda row: (row.score, -row.eps)).eps, table


def format_table(table: Sequence[Candidate]) -> str:
    """The candidates as a table of text."""
    return str(tabulate([asdict(row) for row in table], headers="keys", floatfmt=".3f"))


def _candidate(
    distances: sparse.csr_array, eps: float, labels: np.ndarray, after: np.ndarray
) -> Candidate:
    found, outliers = sizes(labels), float((labels < 0).mean())
    silhouette = sparse_silhouette(distances, labels)
    largest = float(found.max() / len(labels)) if len(found) else 0.0
    score = silhouette * (1 - outliers)
    ari = rand_index(labels, after)
    return Candidate(eps, len(found), outliers, largest, ari, silhouette, score)


def sparse_silhouette(
    distances: sparse.csr_array, labels: np.ndarray, sample: int = SAMPLE
) -> float:
    """Mean silhouette of the clustered images of a sample, -1..1; pairs not stored have distance 1.

    Args:
        distances: (N, N), those that are not stored are taken for 1, the largest there is.
        labels: (N,), -1 for outliers.
        sample: images that are looked at, evenly spread.
    """
    clustered = np.flatnonzero(labels >= 0)
    counts = sizes(labels)
    if len(counts) < 2:
        return 0.0
    chosen = clustered[np.linspace(0, len(clustered) - 1, min(sample, len(clustered))).astype(int)]
    values = [_silhouette(distances, labels, counts, row) for row in np.unique(chosen).tolist()]
    return float(np.mean(values))


def _silhouette(
    distances: sparse.csr_array, labels: np.ndarray, counts: np.ndarray, row: int
) -> float:
    """Silhouette of one image; 0 for a cluster of one."""
    own = labels[row]
    if counts[own] < 2:
        return 0.0
    stored = slice(distances.indptr[row], distances.indptr[row + 1])
    others, near = distances.indices[stored], 1 - distances.data[stored]
    kept = (labels[others] >= 0) & (others != row)
    # Sum of distances to a cluster: its size, less how much nearer than 1 its images are
    closeness = np.bincount(labels[others[kept]], near[kept], minlength=len(counts))
    within = 1 - closeness[own] / (counts[own] - 1)
    means = 1 - closeness / counts
    means[own] = np.inf
    between = float(means.min())
    largest = max(within, between)
    return (between - within) / largest if largest > 0 else 0.0
