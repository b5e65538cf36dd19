"""Evaluation without a compiler: CMC, mAP, mINP and ROC on small and large galleries.

FastReID ranks with a Cython module that it compiles at the first evaluation. Here that module is
used where it exists already; everywhere else a numpy one gives the same figures.

Shapes: Q queries, G gallery images, R = ``max_rank``. Distances are (Q, G), smaller is closer. The
memory needed beyond them is O(G), because queries are ranked one row at a time.
"""

from __future__ import annotations

import importlib
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from fastreid.evaluation import reid_evaluation
from reid_common.errors import UserError

from ...registry import Original, fix, replace, replaces, source_has

logger = logging.getLogger(__name__)

Ranking = tuple[np.ndarray, list[float], list[float]]


def _import_quietly(name: str) -> Any:
    # FastReID's modules warn at import that Cython is "highly recommended"; here it is not.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(name)


rank = _import_quietly("fastreid.evaluation.rank")
roc = _import_quietly("fastreid.evaluation.roc")


def _same_identity(q_pids: np.ndarray, g_pids: np.ndarray) -> Iterator[np.ndarray]:
    """Yield for each query the ascending indices of the gallery images of its identity."""
    by_pid = np.argsort(g_pids, kind="stable")
    sorted_pids = g_pids[by_pid]
    starts = np.searchsorted(sorted_pids, q_pids, side="left")
    ends = np.searchsorted(sorted_pids, q_pids, side="right")
    for start, end in zip(starts, ends, strict=True):
        yield by_pid[start:end]


def _stable_positions(row: np.ndarray, of: np.ndarray) -> np.ndarray:
    """Position (0-based) of the items ``of`` in a stable ascending argsort of ``row`` (G,).

    Sorting the values and counting is several times faster than the argsort itself.
    """
    ordered = np.sort(row)
    values = row[of]
    positions = np.searchsorted(ordered, values, side="left")
    ties = np.searchsorted(ordered, values, side="right") - positions
    for item in np.flatnonzero(ties > 1):
        positions[item] += np.count_nonzero(row[: of[item]] == values[item])
    return positions


def rank_gallery(
    distmat: np.ndarray,
    q_pids: np.ndarray,
    g_pids: np.ndarray,
    q_camids: np.ndarray,
    g_camids: np.ndarray,
    max_rank: int = 50,
) -> Ranking:
    """Rank the gallery for each query as Market-1501's protocol asks.

    Gallery images of the query's identity and camera are left out; queries without any other image
    of their identity do not count; equal distances keep the gallery's order; NaN ranks last.

    Returns:
        The CMC (R,) in 0..1, which stays at its last value where the gallery ends before that rank;
        the average precisions and the inverse negative penalties, one of each per counted query.

    Raises:
        UserError: no query has a match in the gallery.
    """
    first_hits, precisions, penalties = [], [], []
    diverged = 0
    for row, camid, same in zip(distmat, q_camids, _same_identity(q_pids, g_pids), strict=True):
        dropped = g_camids[same] == camid
        if dropped.all():
            continue
        if np.isnan(row.min()):
            diverged += 1
            row = np.where(np.isnan(row), np.inf, row)
        positions = _stable_positions(row, same)
        # A dropped image no longer stands before those behind it.
        behind = np.sort(positions[dropped])
        hits = np.sort(positions[~dropped])
        hits -= np.searchsorted(behind, hits)
        found = np.arange(1, len(hits) + 1)
        first_hits.append(hits[0])
        precisions.append(float(np.mean(found / (hits + 1.0))))
        penalties.append(float(len(hits) / (hits[-1] + 1.0)))
    if not first_hits:
        raise UserError(
            f"None of the {len(q_pids)} queries has a gallery image of its identity from another "
            "camera, so there is nothing to rank. Check the identities and cameras that the data "
            "set gives to its query and gallery items."
        )
    if diverged:
        logger.warning("Distances of %d queries are NaN: has the training diverged?", diverged)
    counts = np.bincount(first_hits, minlength=max_rank)[:max_rank]
    return np.cumsum(counts) / len(first_hits), precisions, penalties


def roc_pairs(
    distmat: np.ndarray,
    q_pids: np.ndarray,
    g_pids: np.ndarray,
    q_camids: np.ndarray,
    g_camids: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the distances of all pairs and their labels: 0 for the same identity, 1 for another.

    Pairs of the same identity and camera are left out; matching pairs come first, then the others.
    """
    positives, negatives = [], []
    for row, camid, same in zip(distmat, q_camids, _same_identity(q_pids, g_pids), strict=True):
        positives.append(row[same[g_camids[same] != camid]])
        negatives.append(np.delete(row, same))
    scores = np.concatenate(positives + negatives)
    labels = np.ones(len(scores))
    labels[: sum(map(len, positives))] = 0
    return scores, labels


def _kept_at_least(
    count: int, q_pids: np.ndarray, g_pids: np.ndarray, q_camids: np.ndarray, g_camids: np.ndarray
) -> bool:
    """Whether each query keeps ``count`` gallery images when its own camera's are dropped."""
    same = _same_identity(q_pids, g_pids)
    dropped = (np.count_nonzero(g_camids[i] == cam) for i, cam in zip(same, q_camids, strict=True))
    return bool(len(g_pids) - max(dropped, default=0) >= count)


def _for_cython(distmat: np.ndarray, *ids: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return float32 distances and int64 ids, contiguous and writable, copied where need be."""
    return (
        np.require(distmat, np.float32, ["C", "W"]),
        *(np.require(one, np.int64, ["C", "W"]) for one in ids),
    )


def evaluate_rank(
    distmat: np.ndarray,
    q_pids: np.ndarray,
    g_pids: np.ndarray,
    q_camids: np.ndarray,
    g_camids: np.ndarray,
    max_rank: int = 50,
    use_metric_cuhk03: bool = False,
    use_cython: bool = True,
) -> Any:
    """Rank with the compiled module where it is there and right, else with :func:`rank_gallery`.

    The compiled module leaves numbers of the query before in the CMC's tail when the gallery that a
    query keeps is smaller than ``max_rank``: it is not used then.
    """
    ids = [np.asarray(one) for one in (q_pids, g_pids, q_camids, g_camids)]
    if use_metric_cuhk03:
        return rank.evaluate_py(distmat, *ids, max_rank, True)
    if use_cython and rank.IS_CYTHON_AVAI and _kept_at_least(max_rank, *ids):
        cmc, precisions, penalties = rank.evaluate_cy(*_for_cython(distmat, *ids), max_rank, False)
        return cmc, precisions.tolist(), penalties.tolist()
    return rank_gallery(np.asarray(distmat), ids[0], ids[1], ids[2], ids[3], max_rank)


def evaluate_roc(
    distmat: np.ndarray,
    q_pids: np.ndarray,
    g_pids: np.ndarray,
    q_camids: np.ndarray,
    g_camids: np.ndarray,
    use_cython: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    """Use the compiled module where it is there, else :func:`roc_pairs`."""
    ids = [np.asarray(one) for one in (q_pids, g_pids, q_camids, g_camids)]
    if use_cython and roc.IS_CYTHON_AVAI:
        return roc.evaluate_roc_cy(*_for_cython(distmat, *ids))
    return roc_pairs(np.asarray(distmat), *ids)


@fix(
    where="evaluation/rank_cylib/__init__.py:15, evaluation/reid_evaluation.py:138",
    symptom="the first evaluation runs make; without a compiler the process exits, checkpoint lost",
)
def no_compiler() -> bool:
    """Compile nothing when an evaluator is made: numpy ranks where there is no compiled module."""
    evaluator = reid_evaluation.ReidEvaluator
    if not source_has(evaluator._compile_dependencies, "compile_helper()"):
        return False
    evaluator._compile_dependencies = lambda self: None
    return True


@fix(
    where="evaluation/rank.py:142,156, evaluation/rank_cylib/rank_cy.pyx:226",
    since="numpy 1.24",
    symptom="ragged CMC or IndexError for small galleries; with Cython a wrong tail of the CMC",
)
def small_galleries() -> bool:
    """Rank one row at a time with a CMC that is always ``max_rank`` long."""
    return replace(rank.evaluate_rank, evaluate_rank, "return evaluate_py(")


@fix(
    where="evaluation/roc.py:31-59, evaluation/rank_cylib/roc_cy.pyx:20",
    symptom="Cython: Buffer dtype mismatch for float64; Python: a list of all Q x G distances",
)
def roc_inputs() -> bool:
    """Give the compiled ROC the arrays it takes; without it, collect the pairs in numpy."""
    return replace(roc.evaluate_roc, evaluate_roc, "return evaluate_roc_py(")


@fix(
    where="evaluation/reid_evaluation.py:112",
    symptom="results hold np.float32, which json refuses to write",
)
@replaces(reid_evaluation.ReidEvaluator, "evaluate", "cmc[r - 1] * 100")
def plain_results(original: Original, self: Any) -> dict[str, Any]:
    """Turn what ``ReidEvaluator.evaluate`` returns into Python floats."""
    results = original(self)
    for name, value in results.items():
        results[name] = float(value)
    return results
