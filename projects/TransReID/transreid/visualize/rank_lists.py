"""Rank lists of a search: a picture of queries with their neighbours, and a table of the first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from reid_common import pictures
from reid_common.errors import UserError
from reid_core.run.reports import evenly_spread
from tabulate import tabulate

from ..inference.feature_files import Ranking, read_ranking

PRINTED = 5  # queries, and neighbours of each


def table(ranking: Ranking) -> str:
    """The first rows of a ranking as text."""
    rows = []
    for query, path in enumerate(ranking.query_paths[:PRINTED]):
        neighbours = zip(ranking.indices[query], ranking.similarities[query], strict=True)
        for rank, (index, similarity) in enumerate(list(neighbours)[:PRINTED], start=1):
            if index >= 0:
                shown = path if rank == 1 else ""
                rows.append([shown, rank, ranking.gallery_paths[index], f"{similarity:.6f}"])
    return tabulate(rows, headers=["query", "rank", "gallery image", "similarity"], floatfmt=".6f")


def draw_results(
    results: Path,
    out: Path,
    queries: Sequence[int] | None = None,
    rows: int = 8,
    top: int = 10,
    title: str | None = None,
) -> None:
    """Draw rank lists of ranking.npz, a results file of ``transreid search``.

    ``queries`` are 0-based; None takes ``rows`` of them, evenly spread.

    Raises:
        UserError: no such query; see :func:`draw_ranking`.
    """
    ranking = read_ranking(results)
    count = len(ranking.query_paths)
    wrong = [query for query in queries or () if not 0 <= query < count]
    if wrong:
        raise UserError(f"--queries {wrong[0]}: {results} has queries 0..{count - 1}")
    chosen = evenly_spread(count, rows) if queries is None else queries
    draw_ranking(ranking, out, chosen, top, title)


def draw_ranking(
    ranking: Ranking, out: Path, queries: Sequence[int], top: int, title: str | None = None
) -> None:
    """Draw the rows of ``queries`` (0-based), ``top`` neighbours each.

    Raises:
        UserError: an image is missing or cannot be read, ``out`` cannot be written.
    """
    top = min(top, ranking.indices.shape[1])
    rows = [_rank_row(ranking, int(query), top) for query in queries]
    title = title or f"{len(ranking.query_paths)} queries, top {top}"
    pictures.draw_rank_rows(rows, out, title, top)


def _rank_row(ranking: Ranking, query: int, top: int) -> pictures.RankRow:
    neighbours: list[tuple[str, str, bool | None]] = []
    pid = _id(ranking.query_pids, query)
    scores = ranking.similarities[query, :top]
    for index, score in zip(ranking.indices[query, :top], scores, strict=True):
        if index < 0:
            continue
        path = ranking.gallery_paths[index]
        found = _id(ranking.gallery_pids, index)
        right = None if pid is None or found is None else found == pid
        caption = _caption(path, found, _id(ranking.gallery_camids, index))
        neighbours.append((path, f"{caption}\n{score:.3f}", right))
    path = ranking.query_paths[query]
    caption = _caption(path, pid, _id(ranking.query_camids, query))
    return pictures.RankRow(path, f"query {query}\n{caption}", neighbours)


def _id(ids: np.ndarray | None, index: int) -> int | None:
    """An identity or camera, None where it is not known."""
    return None if ids is None or ids[index] < 0 else int(ids[index])


def _caption(path: str, pid: int | None, camid: int | None) -> str:
    name = Path(path).stem[-14:] if pid is None else f"id {pid}"
    return name if camid is None else f"{name}, c{camid + 1}"
