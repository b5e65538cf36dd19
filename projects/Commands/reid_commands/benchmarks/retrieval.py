"""What the benchmarks of evaluation share: sets of features, and contenders in forked processes.

Each run has a process of its own, forked from one that has made no tensor yet, so that its peak of
memory (VmHWM, Linux) is that of what is measured. Calls of milliseconds are repeated there, and
their median counts: a first call would measure pages and branches that are new to the processor.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

import faiss
import fastreid_compat  # noqa: F401  (first: makes fastreid importable)
import numpy as np
import threadpoolctl
import torch
import torch.nn.functional as F
from fasteval.ranking.metrics import RankingResult

from .harness import CPU, PEAK, Cell, Sample, alternate, check_agreement, timed
from .processes import HIGHEST, RSS, forget_peak, in_child, memory

# Name -> queries, gallery images, identities: published test sets, and smaller ones
SIZES = {
    "1000": (200, 800, 40),
    "2000": (400, 1_600, 80),
    "4000": (700, 3_300, 160),
    "8000": (1_400, 6_600, 320),
    "Market-1501": (3_368, 15_913, 750),
    "MSMT17": (11_659, 82_161, 3_060),
}
METRICS = ("Rank-1", "mAP", "mINP")
NUM_CAMERAS = 6
TOLERANCE = 1e-5
REPEATED_SECONDS = 0.2  # what repetitions of a short call take together


class TestSet:
    """Random clustered features of length 1, (N, dim), queries first, with ids and cameras.

    Args:
        size: name in SIZES; any other name is a tiny set.
        dim: of the features.
        noise: length of the noise beside a centre of length 1.
    """

    __test__ = False  # pytest takes the name for a test otherwise

    def __init__(self, size: str, dim: int, noise: float) -> None:
        self.num_query, num_gallery, num_ids = SIZES.get(size, (20, 80, 5))
        count = self.num_query + num_gallery
        rng, generator = np.random.default_rng(0), torch.Generator().manual_seed(0)
        self.pids = rng.integers(0, num_ids, count)
        self.camids = rng.integers(0, NUM_CAMERAS, count)
        centres = F.normalize(torch.randn(num_ids, dim, generator=generator))
        features = torch.randn(count, dim, generator=generator).mul_(noise / dim**0.5)
        self.features = F.normalize(features.add_(centres[torch.from_numpy(self.pids)]))

    def split(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Features of the queries (Q, dim) and of the gallery (G, dim)."""
        return self.features[: self.num_query], self.features[self.num_query :]

    def ids(self) -> tuple[np.ndarray, ...]:
        """Identities of queries and gallery, then their cameras."""
        q = self.num_query
        return self.pids[:q], self.pids[q:], self.camids[:q], self.camids[q:]


class Contender(NamedTuple):
    """One implementation.

    Attributes:
        run: what is timed: (test set, what ``prepare`` returned) -> metrics by name.
        prepare: what is not timed, but counts in the memory.
    """

    run: Callable[[TestSet, Any], Sample]
    prepare: Callable[[TestSet], Any] = lambda test_set: None


def metrics(ranking: RankingResult) -> Sample:
    """Metrics that are compared."""
    values = ranking.cmc()[0], ranking.mean_ap, ranking.mean_inp
    return dict(zip(METRICS, values, strict=True))


def parser(doc: str) -> argparse.ArgumentParser:
    """Options that the benchmarks of evaluation have."""
    options = argparse.ArgumentParser(description=doc.splitlines()[0])
    options.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES)[:-1])
    options.add_argument("--msmt17", action="store_true", help="this alone, at MSMT17's size")
    options.add_argument("--dim", type=int, default=768)
    # Of a good model: Rank-1 0.9, mAP 0.6 at Market-1501's size
    options.add_argument("--noise", type=float, default=4.0, help="beside centres of length 1")
    options.add_argument("--rounds", type=int, default=3, help="runs of each, alternating")
    options.add_argument("--threads", type=int, default=torch.get_num_threads())
    return options


def compare(
    contenders: Mapping[str, Contender],
    size: str,
    args: argparse.Namespace,
    *,
    key: str = CPU,
    once: Collection[str] = (),
    tolerance: float = TOLERANCE,
) -> list[dict[str, Cell]]:
    """Run all contenders in turn; return the row of each.

    Args:
        contenders: by name; the first is the baseline.
        size: name in SIZES.
        args: of :func:`parser`.
        key: clock of the ratios; the processor's where other programs take some of its time.
        once: names of slow contenders that run in the first round only.
        tolerance: greatest difference of metrics; beyond it, the program ends.
    """
    runs = {
        name: functools.partial(in_child, measure, contender, size, args, method="fork")
        for name, contender in contenders.items()
    }
    comparison = alternate(runs, args.rounds, key=key, once=once)
    found = comparison.samples.items()
    check_agreement({name: {m: runs[0][m] for m in METRICS} for name, runs in found}, tolerance)
    return [{"images": size, **row} for row in comparison.rows()]


def measure(contender: Contender, size: str, args: argparse.Namespace) -> Sample:
    """Times, peak of memory beyond the features and metrics; in a fresh process."""
    torch.set_num_threads(args.threads)
    faiss.omp_set_num_threads(args.threads)
    threadpoolctl.threadpool_limits(args.threads)  # numpy's
    small = TestSet("warm-up", args.dim, args.noise)
    contender.run(small, contender.prepare(small))
    test_set = TestSet(size, args.dim, args.noise)
    forget_peak()
    before = memory(RSS)
    prepared = contender.prepare(test_set)
    found: Sample = {}
    sample = timed(lambda: found.update(contender.run(test_set, prepared)), REPEATED_SECONDS)()
    return {**sample, PEAK: memory(HIGHEST) - before, **found}
