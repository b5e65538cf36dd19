"""Speed and memory of ranking: FastEval against FastReID's Python and Cython.

python tools/benchmarks/evaluate.py
python tools/benchmarks/evaluate.py --msmt17

"ranking" has the distances given, as FastReID's functions want them; "all" begins at the features.
The first of each is the baseline; FastReID's Python runs once. Its Cython module is compiled in a
temporary folder, if Cython, setuptools and a C compiler are there (pip install cython setuptools);
the installed package stays as it is. All must agree.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from fasteval.ranking.metrics import GalleryRanker
from fastreid.evaluation import rank, rank_cylib
from fastreid.utils.compute_dist import build_dist

from .harness import Row, Sample, benchmark
from .retrieval import OPTIONS, Contender, TestSet, compare, metrics, ours

MAX_RANK = 50
PYTHON, CYTHON = "FastReID's Python", "FastReID's Cython"


def distances(test_set: TestSet) -> np.ndarray:
    """All distances (Q, G), as FastReID makes them."""
    return build_dist(*test_set.split(), "cosine")


def by_fastreid(evaluate: Callable[..., tuple], test_set: TestSet, dist: np.ndarray) -> Sample:
    """Metrics by FastReID's evaluate_py or evaluate_cy."""
    cmc, precisions, penalties = evaluate(dist, *test_set.ids(), MAX_RANK, False)
    return {"Rank-1": cmc[0], "mAP": np.mean(precisions), "mINP": np.mean(penalties)}


def all_by_fastreid(evaluate: Callable[..., tuple], test_set: TestSet, prepared: None) -> Sample:
    """The same from the features on."""
    return by_fastreid(evaluate, test_set, distances(test_set))


def ranking_of_ours(test_set: TestSet, dist: np.ndarray) -> Sample:
    """Ranking alone."""
    return metrics(GalleryRanker(*test_set.ids()).rank(dist, 0))


def compiled_evaluation(folder: Path) -> Callable[..., tuple] | None:
    """Compile FastReID's rank_cy in ``folder``; None, with a line why, where that fails."""
    source = Path(rank_cylib.__file__).parent
    for name in ("rank_cy.pyx", "roc_cy.pyx", "setup.py"):
        shutil.copy(source / name, folder)
    command = [sys.executable, "setup.py", "build_ext", "--inplace"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        print(f"Without Cython: {done.stderr.strip().splitlines()[-1]}")
        return None
    sys.path.insert(0, str(folder))
    try:
        return importlib.import_module("rank_cy").evaluate_cy
    finally:
        sys.path.remove(str(folder))


def rows(args: argparse.Namespace) -> Iterator[Row]:
    """Those that rank given distances, then those that begin at the features."""
    evaluations = {} if args.no_python or args.msmt17 else {PYTHON: rank.evaluate_py}
    with tempfile.TemporaryDirectory() as folder:
        compiled = None if args.msmt17 else compiled_evaluation(Path(folder))
        if compiled is not None:
            evaluations[CYTHON] = compiled
        ranking = {
            f"{name}, ranking": Contender(functools.partial(by_fastreid, evaluate), distances)
            for name, evaluate in evaluations.items()
        }
        ranking["this, ranking"] = Contender(ranking_of_ours, distances, dense=True)
        everything = {"this, all": Contender(ours)}
        if compiled is not None:
            everything = {
                f"{CYTHON}, all": Contender(functools.partial(all_by_fastreid, compiled))
            } | everything
        for contenders in (ranking, everything):
            yield from compare(contenders, args, once=f"{PYTHON}, ranking")


main, parser = benchmark(__doc__, rows, **OPTIONS, no_python=False)
