"""Speed and memory of ranking: FastEval against FastReID's Python and Cython.

python tools/benchmarks/evaluate.py
python tools/benchmarks/evaluate.py --msmt17

"ranking" has the distances given, as FastReID's functions want them; "all" begins at the features.
The first of each is the baseline; FastReID's Python runs once. Its Cython module is compiled in a
temporary folder, if Cython, setuptools and a C compiler are there (pip install cython setuptools);
the installed package stays as it is. All must agree.
"""

from __future__ import annotations

import functools
import importlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
from fasteval import evaluate_features
from fasteval.ranking.metrics import GalleryRanker
from fastreid.evaluation import rank, rank_cylib
from fastreid.utils.compute_dist import build_dist
from reid_core.run.command_line import show_user_errors

from .harness import Sample, header, print_table
from .retrieval import Contender, TestSet, compare, metrics, parser

MAX_RANK = 50
PYTHON = "FastReID's Python, ranking"


def distances(test_set: TestSet) -> np.ndarray:
    """All distances (Q, G), as FastReID makes them."""
    return build_dist(*test_set.split(), "cosine")


def by_fastreid(evaluate: Callable[..., tuple], test_set: TestSet, dist: np.ndarray) -> Sample:
    """Metrics by FastReID's evaluate_py or evaluate_cy."""
    cmc, precisions, penalties = evaluate(dist, *test_set.ids(), MAX_RANK, False)
    return {"Rank-1": cmc[0], "mAP": np.mean(precisions), "mINP": np.mean(penalties)}


def ranking_of_ours(test_set: TestSet, dist: np.ndarray) -> Sample:
    """Ranking alone."""
    return metrics(GalleryRanker(*test_set.ids()).rank(dist, 0))


def all_of_ours(test_set: TestSet, prepared: None) -> Sample:
    """Everything from the features on."""
    found = evaluate_features(test_set.features, test_set.pids, test_set.camids, test_set.num_query)
    return metrics(found.ranking)


def compiled_module(folder: Path) -> ModuleType | None:
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
        return importlib.import_module("rank_cy")
    finally:
        sys.path.remove(str(folder))


def both_kinds(
    compiled: ModuleType | None, python: bool
) -> tuple[dict[str, Contender], dict[str, Contender]]:
    """Those that rank given distances, and those that begin at the features."""
    ranking, everything = {}, {}
    if python:
        ranking[PYTHON] = Contender(functools.partial(by_fastreid, rank.evaluate_py), distances)
    if compiled is not None:
        cython = functools.partial(by_fastreid, compiled.evaluate_cy)
        ranking["FastReID's Cython, ranking"] = Contender(cython, distances)
        everything["FastReID's Cython, all"] = Contender(
            lambda test_set, _: cython(test_set, distances(test_set))
        )
    ranking["this, ranking"] = Contender(ranking_of_ours, distances)
    everything["this, all"] = Contender(all_of_ours)
    return ranking, everything


@show_user_errors
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    options = parser(__doc__)
    options.add_argument("--no-python", action="store_true", help="leave out FastReID's Python")
    args = options.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        compiled = None if args.msmt17 else compiled_module(Path(folder))
        ranking, everything = both_kinds(compiled, python=not args.no_python)
        header(args)
        print_table(
            row
            for size in (["MSMT17"] if args.msmt17 else args.sizes)
            for contenders in ([everything] if args.msmt17 else [ranking, everything])
            for row in compare(contenders, size, args, once=[PYTHON])
        )
    return 0
