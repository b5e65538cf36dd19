#!/usr/bin/env python3
"""Speed and memory of ranking: FastEval against FastReID's Python and Cython.

python tools/benchmarks/evaluate.py
python tools/benchmarks/evaluate.py --msmt17

"ranking" has the distances given, as FastReID's functions want them; "all" begins at the features.
FastReID's Cython module is compiled in a temporary folder, if Cython, setuptools and a C compiler
are there (pip install cython setuptools); the installed package stays as it is. All must agree.
"""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from fasteval import evaluate_features
from fasteval.ranking.metrics import GalleryRanker, RankingResult
from fastreid.evaluation import rank, rank_cylib
from fastreid.utils.compute_dist import build_dist
from retrieval import Contender, TestSet, compare, header, parser

MAX_RANK = 50


def distances(test_set: TestSet) -> np.ndarray:
    """All distances (Q, G), as FastReID makes them."""
    return build_dist(*test_set.split(), "cosine")


def figures(cmc: np.ndarray, precisions: Any, penalties: Any) -> dict[str, float]:
    """What is compared."""
    return {"Rank-1": cmc[0], "mAP": np.mean(precisions), "mINP": np.mean(penalties)}


def by_python(test_set: TestSet, dist: np.ndarray) -> dict[str, float]:
    """FastReID's evaluate_py."""
    return figures(*rank.evaluate_py(dist, *test_set.ids(), MAX_RANK, False))


def by_cython(compiled: ModuleType, test_set: TestSet, dist: np.ndarray) -> dict[str, float]:
    """FastReID's evaluate_cy."""
    return figures(*compiled.evaluate_cy(dist, *test_set.ids(), MAX_RANK, False))


def of(ranking: RankingResult) -> dict[str, float]:
    """Figures of this repository's result."""
    return {"Rank-1": ranking.cmc()[0], "mAP": ranking.mean_ap, "mINP": ranking.mean_inp}


def all_of_it(test_set: TestSet) -> dict[str, float]:
    """Everything from the features on."""
    found = evaluate_features(test_set.features, test_set.pids, test_set.camids, test_set.num_query)
    return of(found.ranking)


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


def contenders(compiled: ModuleType | None) -> tuple[list[Contender], list[Contender]]:
    """Those that rank given distances, and those that begin at the features."""
    ours = Contender(
        "this, ranking",
        lambda test_set, dist: of(GalleryRanker(*test_set.ids()).rank(dist, 0)),
        distances,
    )
    ranking = [Contender("FastReID's Python, ranking", by_python, distances, rounds=1), ours]
    everything = [Contender("this, all", lambda test_set, _: all_of_it(test_set))]
    if compiled is not None:
        ranking.insert(
            1,
            Contender(
                "FastReID's Cython, ranking",
                lambda test_set, dist: by_cython(compiled, test_set, dist),
                distances,
            ),
        )
        everything.insert(
            0,
            Contender(
                "FastReID's Cython, all",
                lambda test_set, _: by_cython(compiled, test_set, distances(test_set)),
            ),
        )
    return ranking, everything


def main() -> None:
    """Parse the command line, print the table."""
    options = parser(__doc__)
    options.add_argument("--no-python", action="store_true", help="leave out FastReID's Python")
    args = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        ranking, everything = contenders(None if args.msmt17 else compiled_module(Path(folder)))
        header(args)
        if args.msmt17:
            compare(everything, "MSMT17", args)
            return
        for size in args.sizes:
            compare(ranking[1:] if args.no_python else ranking, size, args)
            compare(everything, size, args)


if __name__ == "__main__":
    main()
