"""Speed and memory of pseudo labels: sparse Jaccard distances and DBSCAN against the dense way.

python tools/benchmarks/cluster.py --threads 1 --sizes 4000 8000
python tools/benchmarks/cluster.py --threads 2 --sizes MSMT17 200000 --no-dense

The dense way is that of the released cluster contrast: FastReID's Jaccard distances, which are its
numbers, in matrices of N x N, and DBSCAN on the dense one. Distances are made of features, which
are synthetic: centres with noise, 31 images an identity, as in MSMT17's training set. All settings
are the released ones, eps 0.6. A run is a process of its own: memory is its peak beyond the
features. Dense matrices that this machine cannot hold are left out, with a line that says so.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import faiss
import numpy as np
import reid_core  # noqa: F401  (first: repairs FastReID)
import threadpoolctl
import torch
import torch.nn.functional as F
from clustercontrast.clustering.methods import DBSCAN
from fasteval.distances.close_pairs import close_pairs
from fastreid.utils.compute_dist import compute_jaccard_distance

from .harness import CPU, PEAK, Row, Sample, alternate, benchmark, check_agreement, timed
from .processes import HIGHEST, RSS, forget_peak, in_children, memory

SIZES = {"1000": 1_000, "4000": 4_000, "8000": 8_000, "MSMT17": 32_621, "200000": 200_000}
AN_IDENTITY = 31  # images: 32,621 of 1,041 identities
DIM = 384
NOISE = 1.6  # cosine of two images of an identity: about 0.28; of others 0
EPS, MIN_SAMPLES, K1, K2 = 0.6, 4, 30, 6
MATRICES = 3  # of N x N float32 that the dense way holds at once
WARM_UP = 200
LABELS = ("clusters", "outliers")


def synthetic_features(count: int) -> tuple[torch.Tensor, np.ndarray]:
    """Features (N, DIM) of length 1 around centres, and the identity of each."""
    rng, generator = np.random.default_rng(0), torch.Generator().manual_seed(0)
    identities = rng.integers(0, max(count // AN_IDENTITY, 2), count)
    centres = F.normalize(torch.randn(int(identities.max()) + 1, DIM, generator=generator))
    features = torch.randn(count, DIM, generator=generator).mul_(NOISE / DIM**0.5)
    return F.normalize(features.add_(centres[torch.from_numpy(identities)])), identities


def sparse_labels(features: torch.Tensor) -> np.ndarray:
    """Labels as this repository makes them."""
    return DBSCAN(close_pairs(features, EPS, K1, K2), EPS, MIN_SAMPLES)


def dense_labels(features: torch.Tensor) -> np.ndarray:
    """Labels of dense distances."""
    from sklearn.cluster import dbscan  # late: seconds

    distances = compute_jaccard_distance(features, K1, K2, search_option=3)
    distances[distances < 0] = 0
    return dbscan(distances, eps=EPS, min_samples=MIN_SAMPLES, metric="precomputed")[1]


def measure(labels_of: Callable[[torch.Tensor], np.ndarray], count: int, threads: int) -> Sample:
    """Times, peak of memory beyond the features, clusters and outliers; in a fresh process."""
    torch.set_num_threads(threads)
    faiss.omp_set_num_threads(threads)
    threadpoolctl.threadpool_limits(threads)  # numpy's
    labels_of(synthetic_features(WARM_UP)[0])
    features, _ = synthetic_features(count)
    forget_peak()
    before = memory(RSS)
    found: list[np.ndarray] = []
    sample = timed(lambda: found.append(labels_of(features)))()
    labels = found[-1]
    numbers = {"clusters": float(labels.max() + 1), "outliers": float((labels < 0).mean())}
    return {**sample, PEAK: memory(HIGHEST) - before, **numbers}


def fits(count: int) -> bool:
    """Whether the dense matrices fit in what this machine has free."""
    text = Path("/proc/meminfo").read_text() if Path("/proc/meminfo").exists() else ""
    free = next((int(line.split()[1]) for line in text.splitlines() if "MemAvail" in line), 0)
    return MATRICES * count * count * 4 < 0.9 * free * 1024


def rows(size: str, args: argparse.Namespace) -> Iterator[Row]:
    """Both ways at one size, in turn."""
    count = SIZES[size]
    cases = {"this": (sparse_labels, count, args.threads)}
    if not args.no_dense and fits(count):
        cases = {"dense, as released": (dense_labels, count, args.threads), **cases}
    elif not args.no_dense:
        gigabytes = MATRICES * count * count * 4 / 1e9
        print(f"\n{size}: dense left out, {MATRICES} matrices have {gigabytes:.1f} GB\n")
    comparison = alternate(in_children(measure, cases, method="fork"), args.rounds, key=CPU)
    first = {name: samples[0] for name, samples in comparison.samples.items()}
    check_agreement({name: {key: run[key] for key in LABELS} for name, run in first.items()}, 0.01)
    yield from comparison.rows()


main, parser = benchmark(
    __doc__,
    rows,
    "faiss-cpu",
    "scikit-learn",
    each={"sizes": "images"},
    sizes=SIZES,
    rounds=1,
    threads=torch.get_num_threads(),
    no_dense=False,
)
