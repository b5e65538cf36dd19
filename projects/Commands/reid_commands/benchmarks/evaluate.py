"""Speed and memory of ranking and of k-reciprocal re-ranking: FastEval against FastReID.

python tools/benchmarks/evaluate.py --threads 1 --no-python
python tools/benchmarks/evaluate.py --threads 1 --rerank

Ranking has the distances given, as FastReID's functions want them, then begins at the features.
FastReID's Cython module is compiled in a temporary folder, if Cython, setuptools and a C compiler
are there. Re-ranking begins at the features and has TEST.RERANK's defaults. The first of each is
the baseline; FastReID's Python and re-ranking run once, at MSMT17's size neither does. Each run is
a process forked from one that has made no tensor: memory is its peak beyond the features.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import faiss
import numpy as np
import threadpoolctl
import torch
import torch.nn.functional as F
from fasteval import Options, Rerank, evaluate_features
from fasteval.ranking.metrics import GalleryRanker, RankingResult
from fastreid.evaluation import rank, rank_cylib
from fastreid.utils.compute_dist import build_dist

from .harness import CPU, PEAK, Row, Sample, alternate, benchmark, check_agreement, timed
from .models import NUM_CAMERAS
from .processes import HIGHEST, RSS, forget_peak, in_children, memory

# Name -> queries, gallery images, identities: smaller test sets than the published ones, and these
LARGE, WARM_UP = "MSMT17", "warm-up"
SIZES = {
    "1000": (200, 800, 40),
    "2000": (400, 1_600, 80),
    "4000": (700, 3_300, 160),
    "8000": (1_400, 6_600, 320),
    "Market-1501": (3_368, 15_913, 750),
    LARGE: (11_659, 82_161, 3_060),
}
METRICS = ("Rank-1", "mAP", "mINP")
TOLERANCE = 1e-5
REPEATED_SECONDS = 0.2  # what repetitions of a short call take together: a first one is slower
DIM = 768
NOISE = 4.0  # as of a good model: Rank-1 0.9, mAP 0.6 at Market-1501's size
MAX_RANK = 50
PYTHON, CYTHON = "FastReID's Python", "FastReID's Cython"


class TestSet:
    """Random features of length 1 around centres, (N, DIM), queries first, with ids and cameras."""

    __test__ = False  # pytest takes the name for a test otherwise

    def __init__(self, size: str) -> None:
        self.num_query, num_gallery, num_ids = SIZES.get(size, (20, 80, 5))
        count = self.num_query + num_gallery
        rng, generator = np.random.default_rng(0), torch.Generator().manual_seed(0)
        self.pids = rng.integers(0, num_ids, count)
        self.camids = rng.integers(0, NUM_CAMERAS, count)
        centres = F.normalize(torch.randn(num_ids, DIM, generator=generator))
        features = torch.randn(count, DIM, generator=generator).mul_(NOISE / DIM**0.5)
        self.features = F.normalize(features.add_(centres[torch.from_numpy(self.pids)]))

    def ids(self) -> tuple[np.ndarray, ...]:
        """Identities of queries and gallery, then their cameras."""
        q = self.num_query
        return self.pids[:q], self.pids[q:], self.camids[:q], self.camids[q:]

    def distances(self, **how: Any) -> np.ndarray:
        """All distances (Q, G), as FastReID makes them."""
        q = self.num_query
        return build_dist(self.features[:q], self.features[q:], **{"metric": "cosine", **how})


class Contender(NamedTuple):
    """An implementation, of functions of modules: (test set, what is prepared) -> metrics by name.

    ``prepare`` is not timed, but counts in the memory. A ``dense`` one holds all distances at once,
    too many at MSMT17's size.
    """

    run: Callable[[TestSet, Any], Sample]
    prepare: Callable[[TestSet], Any] = TestSet.ids
    dense: bool = False


def metrics(ranking: RankingResult) -> Sample:
    """Metrics that are compared."""
    values = ranking.cmc()[0], ranking.mean_ap, ranking.mean_inp
    return dict(zip(METRICS, values, strict=True))


def ours(test_set: TestSet, _: Any, rerank: Rerank | None = None) -> Sample:
    """FastEval's metrics, from the features on."""
    ids = test_set.pids, test_set.camids
    options = Options(rerank=rerank, device="cpu")
    return metrics(evaluate_features(test_set.features, *ids, test_set.num_query, options).ranking)


def ranked_by_ours(test_set: TestSet, dist: np.ndarray) -> Sample:
    """FastEval's ranking alone."""
    return metrics(GalleryRanker(*test_set.ids()).rank(dist, 0))


def ranked_by_fastreid(
    evaluate: Callable[..., tuple], test_set: TestSet, dist: np.ndarray
) -> Sample:
    """Metrics by FastReID's evaluate_py or evaluate_cy."""
    cmc, precisions, penalties = evaluate(dist, *test_set.ids(), MAX_RANK, False)
    return {"Rank-1": cmc[0], "mAP": np.mean(precisions), "mINP": np.mean(penalties)}


def all_by_fastreid(evaluate: Callable[..., tuple], test_set: TestSet, _: Any) -> Sample:
    """The same from the features on."""
    return ranked_by_fastreid(evaluate, test_set, test_set.distances())


def reranked_by_fastreid(how: Rerank, test_set: TestSet, _: Any) -> Sample:
    """FastReID's distances; ranked by this repository, so that the difference is re-ranking's."""
    dist = test_set.distances() * how.lambda_value
    jaccard = test_set.distances(metric="jaccard", k1=how.k1, k2=how.k2)
    dist += jaccard * (1 - how.lambda_value)
    return ranked_by_ours(test_set, dist)


def compiled_evaluation(folder: str) -> Callable[..., tuple] | None:
    """Compile FastReID's rank_cy in ``folder``; None, with a line why, where that fails."""
    source = Path(rank_cylib.__file__).parent
    for name in ("rank_cy.pyx", "roc_cy.pyx", "setup.py"):
        shutil.copy(source / name, folder)
    command = [sys.executable, "setup.py", "build_ext", "--inplace"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        print(f"Without Cython: {done.stderr.strip().splitlines()[-1]}")
        return None
    sys.path.insert(0, folder)
    return importlib.import_module("rank_cy").evaluate_cy


def compare(
    contenders: Mapping[str, Contender], args: argparse.Namespace, once: str
) -> Iterator[Row]:
    """Run all contenders in turn at each size; yield their rows, the first is the baseline.

    Ratios are those of the processor's time: other programs take some of the other.
    """
    for size in args.sizes:
        cases = {
            name: (contender, size, args)
            for name, contender in contenders.items()
            if not (contender.dense and size == LARGE)
        }
        if cases:
            runs = in_children(measure, cases, method="fork")
            comparison = alternate(runs, args.rounds, key=CPU, once=[once])
            first = {name: samples[0] for name, samples in comparison.samples.items()}
            found = {name: {m: run[m] for m in METRICS} for name, run in first.items()}
            check_agreement(found, TOLERANCE)
            yield from ({"images": size, **row} for row in comparison.rows())


def measure(contender: Contender, size: str, args: argparse.Namespace) -> Sample:
    """Times, peak of memory beyond the features and metrics; in a fresh process."""
    torch.set_num_threads(args.threads)
    faiss.omp_set_num_threads(args.threads)
    threadpoolctl.threadpool_limits(args.threads)  # numpy's
    small = TestSet(WARM_UP)
    contender.run(small, contender.prepare(small))
    test_set = TestSet(size)
    forget_peak()
    before = memory(RSS)
    prepared = contender.prepare(test_set)
    found: Sample = {}
    sample = timed(lambda: found.update(contender.run(test_set, prepared)), REPEATED_SECONDS)()
    return {**sample, PEAK: memory(HIGHEST) - before, **found}


def rows(args: argparse.Namespace) -> Iterator[Row]:
    """Those that rank given distances, then those that begin at the features; or re-ranking."""
    if args.rerank:
        fastreids = Contender(functools.partial(reranked_by_fastreid, Rerank()), dense=True)
        this = Contender(functools.partial(ours, rerank=Rerank()))
        yield from compare({"FastReID": fastreids, "this": this}, args, once="FastReID")
        return
    evaluations = {} if args.no_python else {PYTHON: rank.evaluate_py}
    everything = {"this, all": Contender(ours)}
    with tempfile.TemporaryDirectory() as folder:
        compiled = compiled_evaluation(folder)
        if compiled is not None:
            evaluations[CYTHON] = compiled
            by_cython = functools.partial(all_by_fastreid, compiled)
            everything = {f"{CYTHON}, all": Contender(by_cython, dense=True), **everything}
        given = {
            f"{name}, ranking": functools.partial(ranked_by_fastreid, evaluate)
            for name, evaluate in evaluations.items()
        } | {"this, ranking": ranked_by_ours}
        ranking = {name: Contender(run, TestSet.distances, True) for name, run in given.items()}
        for contenders in (ranking, everything):
            yield from compare(contenders, args, once=f"{PYTHON}, ranking")


main, parser = benchmark(
    __doc__,
    rows,
    "faiss-cpu",
    sizes=SIZES,
    rounds=3,
    threads=torch.get_num_threads(),
    no_python=False,
    rerank=False,
)
