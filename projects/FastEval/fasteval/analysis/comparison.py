"""Two evaluations of one test set, matched query by query and compared."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from reid_common.errors import UserError

from .analyse import MEASURES, Analysis
from .paired import NUM_PERMUTATIONS, Comparison, compare


@dataclass
class Compared:
    """What a second evaluation is to a first one.

    Attributes:
        measures: one of :data:`fasteval.analysis.analyse.MEASURES` -> its comparison.
        first: (M,) average precisions, 0..1, of the queries that count for both.
        second: (M,) those of the second.
    """

    measures: dict[str, Comparison]
    first: np.ndarray
    second: np.ndarray


def compare_evaluations(
    first: Analysis,
    second: Analysis,
    level: float = 0.95,
    num_resamples: int = NUM_PERMUTATIONS,
    seed: int = 0,
) -> Compared:
    """Compare the second evaluation with the first, on queries that both have; as :func:`compare`.

    Raises:
        UserError: their galleries differ, or they have no query with a match in common.
    """
    galleries = common_names(first.results.gallery_paths, second.results.gallery_paths)
    if set(galleries[0]) != set(galleries[1]):
        raise UserError(
            f"the evaluations ranked different galleries, of {len(galleries[0])} and "
            f"{len(galleries[1])} images; only results of the same test set can be compared"
        )
    rows, others = match_queries(first.results.query_paths, second.results.query_paths)
    counted = first.evaluation.ranking.counted[rows] & second.evaluation.ranking.counted[others]
    rows, others = rows[counted], others[counted]
    if not len(rows):
        raise UserError("no query that both evaluations have has a match in the gallery")
    pids = first.query_pids[rows]
    values = {name: (first.values(name)[rows], second.values(name)[others]) for name in MEASURES}
    return Compared(
        {name: compare(*both, pids, level, num_resamples, seed) for name, both in values.items()},
        *values["mAP"],
    )


def match_queries(first: list[str], second: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Rows (M,) in ``first``, ascending, and in ``second`` of image files that both have.

    Raises:
        UserError: a path is unknown or occurs twice, or nothing is shared.
    """
    names, others = common_names(first, second)
    rows = {name: row for row, name in enumerate(others)}
    shared = [(row, rows[name]) for row, name in enumerate(names) if name in rows]
    if not shared:
        raise UserError(
            f"the two evaluations share no query: one has {first[0]!r}, the other {second[0]!r}; "
            "only results of the same test set can be compared"
        )
    return tuple(np.array(shared).T)


def common_names(first: list[str], second: list[str]) -> tuple[list[str], list[str]]:
    """Names by which images of two evaluations can be matched; UserError if a path is not unique.

    They are the paths; where no path is in both, as data lie elsewhere on another machine, only as
    many last parts of all paths as it takes to tell them apart.
    """
    for paths in (first, second):
        if not all(paths) or len(set(paths)) != len(paths):
            raise UserError(
                "images can only be matched if each has a path of its own, but some have none or "
                "that of another"
            )
    if not set(first).isdisjoint(second):
        return first, second
    one, other = ([path.replace("\\", "/").split("/") for path in ps] for ps in (first, second))
    for length in range(1, max(map(len, [*one, *other])) + 1):
        names, others = (["/".join(parts[-length:]) for parts in ps] for ps in (one, other))
        if len(set(names)) == len(names) and len(set(others)) == len(others):
            return names, others
    return first, second
