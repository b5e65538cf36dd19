"""What tools/evaluate.py writes into the folder of -o: tables, pictures, results.json."""

from __future__ import annotations

import csv
import os
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from reid_common import pictures
from reid_common.errors import UserError
from reid_common.files import replacing
from reid_common.image_files import find_fault
from reid_core.run import reports
from reid_core.side_information.rows import FIRST_WITHOUT_CAMERA

from ..analysis.analyse import Analysis
from ..analysis.comparison import Compared
from . import pictures as evaluation_pictures
from .tables import Evaluated, as_json


@dataclass
class Look:
    """What the pictures show.

    Attributes:
        max_rank: ranks of the CMC.
        queries: of the rank lists: ["worst"], ["spread"], or numbers, 0-based.
        rows: queries of the rank lists, if they are not numbered.
        images: folder that has the images on this machine, None where the evaluation saw them.
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
            spread = np.linspace(0, count - 1, min(self.rows, count)).round().astype(int)
            return np.unique(spread).tolist()
        return [int(word) for word in self.queries]


def check_queries(queries: list[str], count: int) -> None:
    """Raise UserError if :attr:`Look.queries` name none of the ``count`` queries."""
    if queries in (["worst"], ["spread"]):
        return
    for word in queries:
        if not word.isdecimal() or int(word) >= count:
            raise UserError(f"--queries {word}: give worst, spread or numbers 0..{count - 1}")


def make_folder(folder: Path) -> None:
    """Create the folder of a report, before there is work that could be lost.

    Raises:
        UserError: it cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise UserError(f"-o: cannot write to {str(folder)!r}: {error.strerror}") from error


def write_report(
    ones: list[Evaluated], comparisons: dict[str, Compared], folder: Path, look: Look
) -> None:
    """Write everything; what is of one of several files goes into a folder of its name.

    Args:
        ones: at least one.
        comparisons: name of one of the others -> its comparison with the first.
        folder: where to.
        look: what the pictures show.
    """
    evaluations = {one.name: one.analysis.evaluation for one in ones}
    cmc = {name: found.ranking.cmc(look.max_rank) for name, found in evaluations.items()}
    evaluation_pictures.draw_cmc(cmc, folder / "cmc.png", "CMC")
    roc = {name: found.roc for name, found in evaluations.items() if found.roc is not None}
    roc = {name: curve for name, curve in roc.items() if np.isfinite(curve.tpr).all()}
    if roc:
        evaluation_pictures.draw_roc(roc, folder / "roc.png", "ROC")
    else:
        print("no ROC: the gallery has no image of another identity")
    for one in ones:
        own = folder if len(ones) == 1 else folder / one.name
        own.mkdir(parents=True, exist_ok=True)
        write_tables(one.analysis, own)
        draw_matrix_and_identities(one.analysis, one.name, own)
        missing = draw_rank_lists(
            one.analysis, look.rank_lists(one.analysis), look.images, own / "ranks.png", one.name
        )
        if missing:
            print(missing)
    for name, compared in comparisons.items():
        evaluation_pictures.draw_differences(
            100 * compared.first,
            100 * compared.second,
            (ones[0].name, name),
            folder / name / "differences.png",
            f"{name} against {ones[0].name}: {len(compared.first)} queries",
        )
    reports.write_json(folder / "results.json", as_json(ones, comparisons))


def write_tables(analysis: Analysis, folder: Path) -> None:
    """Write queries.csv, identities.csv and camera_pairs.csv, the worst first, in percent."""
    _write_csv(
        folder / "queries.csv",
        ("query", "image", "identity", "camera", "AP", "first_right_rank", "nearest_image"),
        _query_rows(analysis),
    )
    scores = analysis.identities
    _write_csv(
        folder / "identities.csv",
        ("identity", "queries", "mAP", "Rank-1", "mean_first_right_rank"),
        zip(
            scores.pids.tolist(),
            scores.num_queries.tolist(),
            map(_percent, scores.ap),
            map(_percent, scores.rank1),
            scores.first_hit.round(3).tolist(),
            strict=True,
        ),
    )
    _write_csv(
        folder / "camera_pairs.csv",
        ("query_camera", "match_camera", "queries", "mAP", "Rank-1"),
        _camera_rows(analysis),
    )


def _query_rows(analysis: Analysis) -> Iterable[Sequence[object]]:
    results, evaluation = analysis.results, analysis.evaluation
    ranking, gallery = evaluation.ranking, results.gallery_paths
    for query in analysis.worst_queries().tolist():
        nearest = evaluation.topk_indices[query, 0]
        yield (
            query,
            results.paths[query],
            results.pids[query],
            camera_name(results.camids[query]),
            _percent(ranking.average_precision[query]),
            ranking.first_hit[query] + 1,
            gallery[nearest],
        )


def _camera_rows(analysis: Analysis) -> Iterable[Sequence[object]]:
    pairs = analysis.cameras
    for row, column in pairs.worst():
        yield (
            camera_name(pairs.query_cameras[row]),
            camera_name(pairs.gallery_cameras[column]),
            pairs.num_queries[row, column],
            _percent(pairs.ap[row, column]),
            _percent(pairs.rank1[row, column]),
        )


def _percent(share: float) -> float:
    return round(100 * float(share), 3)


def _write_csv(path: Path, names: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table under a temporary name, then rename."""
    with replacing(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        writer.writerows(rows)


def draw_matrix_and_identities(analysis: Analysis, name: str, folder: Path) -> None:
    """Draw camera_pairs.png and identities.png."""
    pairs, identities = analysis.cameras, analysis.identities
    evaluation_pictures.draw_camera_pairs(
        100 * pairs.ap,
        [camera_name(camera) for camera in pairs.query_cameras],
        [camera_name(camera) for camera in pairs.gallery_cameras],
        folder / "camera_pairs.png",
        f"{name}: mAP of queries of one camera\nif only matches of another count",
    )
    evaluation_pictures.draw_identities(
        100 * identities.ap,
        [str(pid) for pid in identities.pids],
        folder / "identities.png",
        f"{name}: {len(identities)} identities",
    )


def draw_rank_lists(
    analysis: Analysis, queries: Sequence[int], images: str | None, out: Path, title: str
) -> str | None:
    """Draw queries with their nearest images, those that the protocol leaves out left out.

    Args:
        analysis: the evaluation, with ranked images.
        queries: their rows, 0-based.
        images: folder that has the images now, if they are no more where the evaluation saw them:
            the folder that all paths have in common is replaced by it.
        out: picture.
        title: text on top.

    Returns:
        None, or why there is no picture: images are not there, on a machine without the data set.
    """
    paths = moved(analysis.results.paths, images)
    rows = [_rank_row(analysis, paths, query) for query in queries]
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
