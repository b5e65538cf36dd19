"""Rank lists of an evaluation: which queries, their nearest images, and where those images are."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from reid_common import pictures
from reid_common.errors import UserError
from reid_common.image_files import find_fault
from reid_core.run.reports import evenly_spread
from reid_core.side_information.rows import FIRST_WITHOUT_CAMERA

from ..analysis.analyse import Analysis


@dataclass
class Look:
    """What the pictures show.

    Attributes:
        max_rank: ranks of the CMC.
        queries: of the rank lists: ["worst"], ["spread"], or numbers, 0-based.
        rows: queries of the rank lists, if they are not numbered.
        images: folder that has the images on this machine; it replaces the folder that all their
            paths have in common. None: they are where the evaluation saw them.
    """

    max_rank: int
    queries: list[str]
    rows: int
    images: str | None

    def rank_lists(self, analysis: Analysis) -> list[int]:
        """Queries of the rank lists."""
        count = analysis.results.num_query
        if self.queries == ["worst"]:
            return analysis.worst_queries()[: self.rows].tolist()
        if self.queries == ["spread"]:
            return evenly_spread(count, self.rows)
        return [int(word) for word in self.queries]

    def check_queries(self, count: int) -> None:
        """Raise UserError if ``queries`` name none of the ``count`` queries."""
        if self.queries in (["worst"], ["spread"]):
            return
        for word in self.queries:
            if not word.isdecimal() or int(word) >= count:
                raise UserError(f"--queries {word}: give worst, spread or numbers 0..{count - 1}")


def draw_rank_lists(analysis: Analysis, look: Look, out: Path, title: str) -> str | None:
    """Draw queries with their nearest images, those that the protocol leaves out left out.

    Returns:
        None, or why there is no picture: images are not there, on a machine without the data set.
    """
    paths = moved(analysis.results.paths, look.images)
    rows = [_rank_row(analysis, paths, query) for query in look.rank_lists(analysis)]
    neighbours = (path for row in rows for path, _, _ in row.neighbours)
    for path in dict.fromkeys([row.query_path for row in rows] + list(neighbours)):
        fault = find_fault(path) if path else "the results have no paths"
        if fault:
            return f"no rank lists: {path} ({fault}); --images FOLDER says where the images are"
    pictures.draw_rank_rows(rows, out, title, analysis.evaluation.topk_indices.shape[1])
    return None


def _rank_row(analysis: Analysis, paths: list[str], query: int) -> pictures.RankRow:
    results, evaluation = analysis.results, analysis.evaluation
    neighbours: list[tuple[str, str, bool | None]] = []
    found = zip(evaluation.topk_indices[query], evaluation.topk_distances[query], strict=True)
    for index, distance in found:
        if index < 0:
            break
        row = results.num_query + int(index)
        right = bool(results.pids[row] == results.pids[query])
        neighbours.append((paths[row], f"{_caption(analysis, row)}\n{distance:.3g}", right))
    score = 100 * evaluation.ranking.average_precision[query]
    found_at = "no match" if np.isnan(score) else f"AP {score:.1f}"
    caption = f"query {query}, {found_at}\n{_caption(analysis, query)}"
    return pictures.RankRow(paths[query], caption, neighbours)


def _caption(analysis: Analysis, row: int) -> str:
    return f"id {analysis.results.pids[row]}, {camera_name(analysis.results.camids[row])}"


def moved(paths: list[str], folder: str | None) -> list[str]:
    """Paths with ``folder`` in place of the folder that they have in common.

    Raises:
        UserError: they have none in common.
    """
    if folder is None or not all(paths):
        return paths
    try:
        common = os.path.commonpath([os.path.dirname(path) for path in paths])
    except ValueError as error:
        raise UserError(f"--images {folder}: the paths have no folder in common") from error
    return [os.path.join(folder, os.path.relpath(path, common)) for path in paths]


def camera_name(camid: int) -> str:
    """Name of a camera, counted from 1; "new" is what the model's table has no row for."""
    if camid >= 0:
        return f"c{camid + 1}"
    return f"new c{-camid}" if camid > FIRST_WITHOUT_CAMERA else "unknown"
