"""How well scores separate the images of a pool of the target's domain from the rest.

python tools/cfs_truth.py --scores logs/conditional/Toy/scores
python tools/cfs_truth.py --scores scores/ --pool datasets/PhotoPool \\
    --neighbours pool.npz target.npz

Prints areas under the ROC curve, of the scores, of what the simple filters look at, and, if there
are feature files, of the cosines to the nearest image and to the mean of the target. The pool is
ToyUnlabeled or a folder of tools/photo_pool.py. For measurements only: nothing that trains or
selects reads a pool's hidden truth.
"""

from __future__ import annotations

import argparse
import csv
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from cfs.filters.base import Items
from cfs.filters.measured_images import measured
from cfs.filters.measurements import HeaderSize, Sharpness
from cfs.filters.neighbour_filter import NeighbourFilter
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
from toyreid.pool.render import FOLDER, IMAGES, TRUTH

from .finished_run import markdown
from .runner import mean_and_spread, study_parser

CFS, SIMPLE = "CFS", "simple filters together"
BOTH = "CFS and the simple filters"
NEIGHBOURS, MEAN = "nearest neighbours of the target", "likeness to the mean of the target"
ALL = "all"
SIZE = (128, 64)  # at which sharpness is measured; BlurFilter's
UPRIGHT = 2.0  # height / width of a whole person


def pool_name(pool: Path | None) -> str:
    """Name of a pool as a data set; None is ToyUnlabeled."""
    return FOLDER if pool is None else f"ImageFolder:{pool / IMAGES}"


def truth(pool: Path | None = None) -> dict[str, str]:
    """File name -> kind of every image of a pool; None is ToyUnlabeled.

    Raises:
        UserError: it is not there.
    """
    path = (Path(data_root()) / FOLDER if pool is None else pool) / TRUTH
    if not path.is_file():
        how = "train on ToyUnlabeled first, which draws it"
        how = how if pool is None else "give the folder that tools/photo_pool.py has written"
        raise UserError(f"there is no {str(path)!r}; {how}")
    with open(path, newline="", encoding="utf-8") as file:
        return {row["name"]: row["kind"] for row in csv.DictReader(file)}


def kinds_of(names: Iterable[str], pool: Path | None = None) -> np.ndarray:
    """Kind of each image, in the order of the names, which may be paths.

    Raises:
        UserError: of a pool without the truth, or of an image that it does not name.
    """
    known = truth(pool)
    try:
        return np.array([known[os.path.basename(name)] for name in names])
    except KeyError as error:
        raise UserError(
            f"{TRUTH} of {pool_name(pool)} does not name {error}; make the pool again, or take the "
            "image away"
        ) from error


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
        kinds: N of them, as :data:`~toyreid.pool.plan.KINDS`.

    Returns:
        "all" and each other kind -> area.
    """
    kind = np.asarray(kinds)
    inside = kind == PERSON
    found = {}
    others = sorted({*kind.tolist()} - {PERSON}, key=[*KINDS, *sorted(set(kind.tolist()))].index)
    for name in (ALL, *others):
        chosen = inside | (kind == name) | (name == ALL)
        found[name] = float(roc_auc_score(inside[chosen], values[chosen]))
    return found


def likeness(files: Sequence[str], images: UnlabelledImages) -> dict[str, np.ndarray]:
    """Cosines of each image to the target, name -> (N,); NaN without a feature.

    To the nearest image of the target, as NeighbourFilter has it, and to the mean of its features
    (times the mean's length: feature files hold unit vectors).

    Args:
        files: feature file of the pool, and of the target.
        images: of the pool.
    """
    features, target = files
    neighbours = NeighbourFilter(features, target, keep=1.0)
    neighbours.look_up(images, key_list(images))
    neighbours.prepare(Items(images, np.arange(len(images))))
    places = neighbours.places
    to_mean = neighbours.pool.features @ neighbours.targets.features.mean(0)
    return {NEIGHBOURS: neighbours.values, MEAN: np.where(places < 0, np.nan, to_mean[places])}


def separation(
    scores: Scores,
    images: UnlabelledImages,
    cache: Path,
    pool: Path | None = None,
    neighbours: Sequence[str] = (),
) -> dict[str, dict[str, float]]:
    """:func:`areas` of CFS, of the simple filters, and of means of ranks of several.

    Args:
        scores: of the images that are compared, in any order.
        images: those images; the ones without a score are left out.
        cache: as in :func:`simple_scores`.
        pool: folder of the images and their truth; None: ToyUnlabeled.
        neighbours: files of :func:`likeness`, two rows more.

    Raises:
        UserError: no image has a score, or one has no feature.
    """
    by_name = dict(zip(scores.names, scores.values.tolist(), strict=True))
    keys = list(key_list(images))
    values = np.array([by_name.get(name, np.nan) for name in keys])
    rows = np.flatnonzero(np.isfinite(values))
    if not len(rows):
        raise UserError(f"no image of {pool_name(pool)} has a score; name scores of that data set")
    simple = {name: values[rows] for name, values in simple_scores(images, cache).items()}
    ranks = np.mean([rankdata(values) for values in simple.values()], axis=0)
    cfs = values[rows]
    found = {CFS: cfs, **simple, SIMPLE: ranks, BOTH: rankdata(cfs) + rankdata(ranks)}
    if neighbours:
        alike = likeness(neighbours, images)
        found |= {name: values[rows] for name, values in alike.items()}
        if np.isnan(found[NEIGHBOURS]).any():
            raise UserError(f"{neighbours[0]} lacks images that have scores; extract all of them")
    kinds = kinds_of((keys[row] for row in rows.tolist()), pool)
    return {name: areas(values, kinds) for name, values in found.items()}


def separation_table(of_seeds: Sequence[Mapping[str, Mapping[str, float]]]) -> str:
    """Markdown table of :func:`separation`, mean ± standard deviation over the seeds."""
    columns = [*of_seeds[0][CFS]]
    titles = ["all others", *(name.replace("_", " ") for name in columns if name != ALL)]
    rows = []
    for name in of_seeds[0]:
        cells = []
        for column in columns:
            values = [seed[name][column] for seed in of_seeds]
            cells.append(mean_and_spread(values if len(set(values)) > 1 else values[:1], digits=2))
        rows.append([name, *cells])
    return markdown([f"area under ROC, {len(of_seeds)} seed(s)", *titles], rows)


def add_pool(lines: argparse.ArgumentParser) -> None:
    """Add the folder of a pool."""
    text = f"pool of tools/photo_pool.py ({FOLDER})"
    lines.add_argument("--pool", type=Path, metavar="DIR", help=text)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    lines = study_parser(__doc__)
    lines.add_argument("--scores", required=True, metavar="DIR", help="scores of the pool")
    add_pool(lines)
    files = "feature files of the pool and of the target, of theta_s"
    lines.add_argument("--neighbours", nargs=2, metavar="FILE", default=(), help=files)
    return lines


@show_user_errors
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    args = parse_command(parser(), argv)
    images = open_listing(load_config(options=args.opts), [pool_name(args.pool)])
    scores = read_scores(args.scores)
    with tempfile.TemporaryDirectory() as cache:
        found = separation(scores, images, Path(cache), args.pool, args.neighbours)
    print(separation_table([found]))
    return 0
