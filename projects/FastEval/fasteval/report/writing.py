"""What tools/evaluate.py writes into the folder of -o: tables, pictures, results.json."""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from reid_common.errors import UserError
from reid_common.files import replacing, write_json

from ..analysis.analyse import Analysis
from ..analysis.comparison import Compared
from . import pictures
from .rank_lists import Look, camera_name, draw_rank_lists
from .tables import Evaluated, as_json


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

    ``comparisons`` are those of the others with the first one.
    """
    evaluations = {one.name: one.analysis.evaluation for one in ones}
    cmc = {name: found.ranking.cmc(look.max_rank) for name, found in evaluations.items()}
    pictures.draw_cmc(cmc, folder / "cmc.png", "CMC")
    roc = {name: found.roc for name, found in evaluations.items() if found.roc is not None}
    roc = {name: curve for name, curve in roc.items() if np.isfinite(curve.tpr).all()}
    if roc:
        pictures.draw_roc(roc, folder / "roc.png", "ROC")
    else:
        print("no ROC: the gallery has no image of another identity")
    for one in ones:
        own = folder if len(ones) == 1 else folder / one.name
        own.mkdir(parents=True, exist_ok=True)
        write_tables(one.analysis, own)
        draw_matrix_and_identities(one.analysis, one.name, own)
        missing = draw_rank_lists(one.analysis, look, own / "ranks.png", one.name)
        if missing:
            print(missing)
    for name, compared in comparisons.items():
        pictures.draw_differences(
            100 * compared.first,
            100 * compared.second,
            (ones[0].name, name),
            folder / name / "differences.png",
            f"{name} against {ones[0].name}: {len(compared.first)} queries",
        )
    write_json(folder / "results.json", as_json(ones, comparisons))


def write_tables(analysis: Analysis, folder: Path) -> None:
    """Write queries.csv, identities.csv and camera_pairs.csv, the worst first, in percent."""
    results, evaluation, scores = analysis.results, analysis.evaluation, analysis.identities
    ranking, gallery, pairs = evaluation.ranking, results.gallery_paths, analysis.cameras
    queries = (
        (
            query,
            results.paths[query],
            results.pids[query],
            camera_name(results.camids[query]),
            _percent(ranking.average_precision[query]),
            ranking.first_hit[query] + 1,
            gallery[evaluation.topk_indices[query, 0]],
        )
        for query in analysis.worst_queries().tolist()
    )
    names = "query,image,identity,camera,AP,first_right_rank,nearest_image"
    _write_csv(folder / "queries.csv", names, queries)
    identities = zip(
        scores.pids.tolist(),
        scores.num_queries.tolist(),
        map(_percent, scores.ap),
        map(_percent, scores.rank1),
        scores.first_hit.round(3).tolist(),
        strict=True,
    )
    names = "identity,queries,mAP,Rank-1,mean_first_right_rank"
    _write_csv(folder / "identities.csv", names, identities)
    cameras = (
        (
            camera_name(pairs.query_cameras[row]),
            camera_name(pairs.gallery_cameras[column]),
            pairs.num_queries[row, column],
            _percent(pairs.ap[row, column]),
            _percent(pairs.rank1[row, column]),
        )
        for row, column in pairs.worst()
    )
    names = "query_camera,match_camera,queries,mAP,Rank-1"
    _write_csv(folder / "camera_pairs.csv", names, cameras)


def _percent(share: float) -> float:
    return round(100 * float(share), 3)


def _write_csv(path: Path, names: str, rows: Iterable[Sequence[object]]) -> None:
    """Write a table under a temporary name, then rename."""
    with replacing(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(names.split(","))
        writer.writerows(rows)


def draw_matrix_and_identities(analysis: Analysis, name: str, folder: Path) -> None:
    """Draw camera_pairs.png and identities.png."""
    pairs, identities = analysis.cameras, analysis.identities
    pictures.draw_camera_pairs(
        100 * pairs.ap,
        [*map(camera_name, pairs.query_cameras)],
        [*map(camera_name, pairs.gallery_cameras)],
        folder / "camera_pairs.png",
        f"{name}: mAP of queries of one camera\nif only matches of another count",
    )
    pictures.draw_identities(
        100 * identities.ap,
        [str(pid) for pid in identities.pids],
        folder / "identities.png",
        f"{name}: {len(identities.pids)} identities",
    )
