"""How well scores separate the images of ToyUnlabeled of the target's domain from the rest.

python tools/cfs_truth.py --scores logs/conditional/Toy/scores

Prints areas under the ROC curve, of the scores and of what the simple filters look at. For
measurements only: nothing that trains or selects reads ToyUnlabeled's hidden truth.
"""

from __future__ import annotations

import argparse
import csv
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from cfs.filters.measured_images import measured
from cfs.filters.measurements import HeaderSize, Sharpness
from cfs.images.keys import key_list
from cfs.images.listing import open_listing
from cfs.scores.reading import Scores, read_scores
from dinopretrain.data.images import UnlabelledImages
from reid_common.errors import UserError
from reid_core.config import load_config
from reid_core.data.opening import data_root
from reid_core.run.command_line import parse_command, show_user_errors
from scipy.stats import rankdata
from sklearn.metrics import roc_auc_score
from toyreid.pool.plan import KINDS, PERSON
from toyreid.pool.render import FOLDER, TRUTH

from .finished_run import markdown
from .runner import mean_and_spread, study_parser

CFS, SIMPLE = "CFS", "simple filters together"
BOTH = "CFS and the simple filters"
OTHERS = [kind for kind in KINDS if kind != PERSON]
COLUMNS = ["all", *OTHERS]
SIZE = (128, 64)  # at which sharpness is measured; BlurFilter's
UPRIGHT = 2.0  # height / width of a whole person


def truth() -> dict[str, str]:
    """File name -> kind of every image of ToyUnlabeled.

    Raises:
        UserError: the data set is not there.
    """
    path = Path(data_root()) / FOLDER / TRUTH
    if not path.is_file():
        raise UserError(f"there is no {str(path)!r}; train on ToyUnlabeled first, which draws it")
    with open(path, newline="", encoding="utf-8") as file:
        return {row["name"]: row["kind"] for row in csv.DictReader(file)}


def kinds_of(names: Iterable[str]) -> np.ndarray:
    """Kind of each image, in the order of the names, which may be paths."""
    known = truth()
    return np.array([known[os.path.basename(name)] for name in names])


def simple_scores(images: UnlabelledImages, cache: Path) -> dict[str, np.ndarray]:
    """What the simple filters look at, as scores of N images: higher is better; name -> (N,).

    Measurements are kept in the folder ``cache``.
    """
    everything = np.arange(len(images))
    sizes = np.asarray(measured(HeaderSize(), images, everything, str(cache)).values, float)
    sharpness = np.asarray(measured(Sharpness(SIZE), images, everything, str(cache)).values)
    height, width = sizes.T
    return {
        "resolution (height x width)": height * width,
        "aspect ratio (how near to 2)": -np.abs(np.log(height / width / UPRIGHT)),
        "sharpness": sharpness.reshape(-1),
    }


def areas(values: np.ndarray, kinds: Sequence[str] | np.ndarray) -> dict[str, float]:
    """Area under the ROC curve of the target's domain against all else, and against each kind.

    Args:
        values: (N,) scores; 0.5 is chance, 1 a score that is always higher in the domain.
        kinds: N of :data:`~toyreid.pool.plan.KINDS`.

    Returns:
        "all" and each other kind -> area.
    """
    kind = np.asarray(kinds)
    inside = kind == PERSON
    found = {}
    for name in COLUMNS:
        chosen = inside | (kind == name) | (name == "all")
        found[name] = float(roc_auc_score(inside[chosen], values[chosen]))
    return found


def separation(
    scores: Scores, images: UnlabelledImages, cache: Path
) -> dict[str, dict[str, float]]:
    """:func:`areas` of CFS, of the simple filters, and of means of ranks of several.

    Args:
        scores: of the images that are compared, in any order.
        images: those images; the ones without a score are left out.
        cache: as in :func:`simple_scores`.

    Raises:
        UserError: no image has a score.
    """
    by_name = dict(zip(scores.names, scores.values.tolist(), strict=True))
    keys = list(key_list(images))
    values = np.array([by_name.get(name, np.nan) for name in keys])
    rows = np.flatnonzero(np.isfinite(values))
    if not len(rows):
        raise UserError("no image of ToyUnlabeled has a score; name scores of that data set")
    simple = {name: values[rows] for name, values in simple_scores(images, cache).items()}
    ranks = np.mean([rankdata(values) for values in simple.values()], axis=0)
    cfs = values[rows]
    found = {CFS: cfs, **simple, SIMPLE: ranks, BOTH: rankdata(cfs) + rankdata(ranks)}
    kinds = kinds_of(keys[row] for row in rows.tolist())
    return {name: areas(values, kinds) for name, values in found.items()}


def separation_table(of_seeds: Sequence[Mapping[str, Mapping[str, float]]]) -> str:
    """Markdown table of :func:`separation`, mean ± standard deviation over the seeds."""
    titles = ["all others", *(name.replace("_", " ") for name in OTHERS)]
    rows = []
    for name in of_seeds[0]:
        cells = []
        for column in COLUMNS:
            values = [seed[name][column] for seed in of_seeds]
            cells.append(mean_and_spread(values if len(set(values)) > 1 else values[:1], digits=2))
        rows.append([name, *cells])
    return markdown([f"area under ROC, {len(of_seeds)} seed(s)", *titles], rows)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    lines = study_parser(__doc__)
    lines.add_argument("--scores", required=True, metavar="DIR", help="scores of ToyUnlabeled")
    return lines


@show_user_errors
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    args = parse_command(parser(), argv)
    images = open_listing(load_config(options=args.opts), [FOLDER])
    with tempfile.TemporaryDirectory() as cache:
        found = separation(read_scores(args.scores), images, Path(cache))
    print(separation_table([found]))
    return 0
