"""What the benchmarks of evaluation share: sets of features, and contenders in forked processes.

Each run has a process of its own, forked from one that has made no tensor yet, so that its peak of
memory (VmHWM, Linux) is that of what is measured. Calls of milliseconds are repeated there, and
their median counts: a first call would measure pages and branches that are new to the processor.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import faiss
import numpy as np
import threadpoolctl
import torch
import torch.nn.functional as F
from fasteval import Options, Rerank, evaluate_features
from fasteval.ranking.metrics import RankingResult

from .harness import CPU, PEAK, Row, Sample, alternate, check_agreement, timed
from .processes import HIGHEST, RSS, forget_peak, in_children, memory

# Name -> queries, gallery images, identities: published test sets, and smaller ones
SIZES = {
    "1000": (200, 800, 40),
    "2000": (400, 1_600, 80),
    "4000": (700, 3_300, 160),
    "8000": (1_400, 6_600, 320),
    "Market-1501": (3_368, 15_913, 750),
}
LARGE = {"MSMT17": (11_659, 82_161, 3_060)}
WARM_UP = {"warm-up": (20, 80, 5)}
METRICS = ("Rank-1", "mAP", "mINP")
NUM_CAMERAS = 6
TOLERANCE = 1e-5
REPEATED_SECONDS = 0.2  # what repetitions of a short call take together
DIM = 768
NOISE = 4.0  # as of a good model: Rank-1 0.9, mAP 0.6 at Market-1501's size
OPTIONS: dict[str, Any] = {
    "sizes": SIZES,
    "msmt17": False,
    "rounds": 3,
    "threads": torch.get_num_threads(),
}


class TestSet:
    """Random features of length 1 around centres, (N, DIM), queries first, with ids and cameras."""

    __test__ = False  # pytest takes the name for a test otherwise

    def __init__(self, size: str) -> None:
        self.num_query, num_gallery, num_ids = (SIZES | LARGE | WARM_UP)[size]
        count = self.num_query + num_gallery
        rng, generator = np.random.default_rng(0), torch.Generator().manual_seed(0)
        self.pids = rng.integers(0, num_ids, count)
        self.camids = rng.integers(0, NUM_CAMERAS, count)
        centres = F.normalize(torch.randn(num_ids, DIM, generator=generator))
        features = torch.randn(count, DIM, generator=generator).mul_(NOISE / DIM**0.5)
        self.features = F.normalize(features.add_(centres[torch.from_numpy(self.pids)]))

    def split(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Features of the queries (Q, DIM) and of the gallery (G, DIM)."""
        return self.features[: self.num_query], self.features[self.num_query :]

    def ids(self) -> tuple[np.ndarray, ...]:
        """Identities of queries and gallery, then their cameras."""
        q = self.num_query
        return self.pids[:q], self.pids[q:], self.camids[:q], self.camids[q:]


def nothing(test_set: TestSet) -> None:
    """Prepare nothing."""


class Contender(NamedTuple):
    """An implementation, of functions of modules: (test set, what is prepared) -> metrics by name.

    ``prepare`` is not timed, but counts in the memory. A ``dense`` one holds all distances at once,
    too many at MSMT17's size.
    """

    run: Callable[[TestSet, Any], Sample]
    prepare: Callable[[TestSet], Any] = nothing
    dense: bool = False


def metrics(ranking: RankingResult) -> Sample:
    """Metrics that are compared."""
    values = ranking.cmc()[0], ranking.mean_ap, ranking.mean_inp
    return dict(zip(METRICS, values, strict=True))


def ours(
    test_set: TestSet, prepared: Any, rerank: Rerank | None = None, device: str = "cpu"
) -> Sample:
    """FastEval's metrics, from the features on."""
    options = Options(rerank=rerank, device=device)
    ids = test_set.pids, test_set.camids
    found = evaluate_features(test_set.features, *ids, test_set.num_query, options)
    return metrics(found.ranking)


def compare(
    contenders: Mapping[str, Contender],
    args: argparse.Namespace,
    *,
    key: str = CPU,
    once: str = "",
    tolerance: float = TOLERANCE,
) -> Iterator[Row]:
    """Run all contenders in turn at each size; yield their rows.

    Args:
        contenders: by name; the first is the baseline.
        args: of :data:`OPTIONS`.
        key: clock of the ratios; the processor's where other programs take some of its time.
        once: name of a slow contender that runs in the first round only.
        tolerance: greatest difference of metrics; beyond it, the program ends.
    """
    for size in LARGE if args.msmt17 else args.sizes:
        cases = {
            name: (contender, size, args)
            for name, contender in contenders.items()
            if not (contender.dense and size in LARGE)
        }
        if cases:
            runs = in_children(measure, cases, method="fork")
            comparison = alternate(runs, args.rounds, key=key, once=[once])
            found = {name: runs[0] for name, runs in comparison.samples.items()}
            check_agreement(
                {n: {m: run[m] for m in METRICS} for n, run in found.items()}, tolerance
            )
            yield from ({"images": size, **row} for row in comparison.rows())


def measure(contender: Contender, size: str, args: argparse.Namespace) -> Sample:
    """Times, peak of memory beyond the features and metrics; in a fresh process."""
    torch.set_num_threads(args.threads)
    faiss.omp_set_num_threads(args.threads)
    threadpoolctl.threadpool_limits(args.threads)  # numpy's
    small = TestSet("warm-up")
    contender.run(small, contender.prepare(small))
    test_set = TestSet(size)
    forget_peak()
    before = memory(RSS)
    prepared = contender.prepare(test_set)
    found: Sample = {}
    sample = timed(lambda: found.update(contender.run(test_set, prepared)), REPEATED_SECONDS)()
    return {**sample, PEAK: memory(HIGHEST) - before, **found}
