"""How well scores part the images of ToyUnlabeled that are of the target's domain from the rest.

For measurements only: nothing that trains or selects reads ToyUnlabeled's hidden truth.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import fastreid_compat  # noqa: F401  (first: makes fastreid importable)
import numpy as np
from cfs.filters.measurements import HeaderSize, Sharpness
from cfs.filters.measuring import measured
from cfs.filters.names import key_list
from cfs.scores import Scores
from dinopretrain.data.images import UnlabelledImages
from dinopretrain.data.pool.plan import KINDS, PERSON
from dinopretrain.data.pool.render import FOLDER, TRUTH
from fastreid_compat.dataset_files import data_root
from fastreid_compat.errors import UserError
from scipy.stats import rankdata
from sklearn.metrics import roc_auc_score

CFS, SIMPLE = "CFS", "simple filters together"
BOTH = "CFS and the simple filters"
OTHERS = [kind for kind in KINDS if kind != PERSON]
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


def simple_scores(images: UnlabelledImages, cache: Path) -> dict[str, np.ndarray]:
    """What the simple filters look at, as scores of all images: higher is better.

    Args:
        images: N images.
        cache: folder in which measurements are kept.

    Returns:
        Name -> (N,).
    """
    everything = np.arange(len(images))
    sizes = measured(HeaderSize(), images, everything, str(cache)).values.astype(float)
    sharpness = measured(Sharpness(SIZE), images, everything, str(cache)).values
    height, width = sizes.T
    return {
        "resolution (height x width)": height * width,
        "aspect ratio (how near to 2)": -np.abs(np.log(height / width / UPRIGHT)),
        "sharpness": sharpness.reshape(-1),
    }


def all_scores(
    scores: Scores, images: UnlabelledImages, cache: Path
) -> tuple[list[str], dict[str, np.ndarray]]:
    """CFS, the simple filters, and means of ranks of several.

    Args:
        scores: of the images that are compared, in any order.
        images: those images.
        cache: as in :func:`simple_scores`.

    Returns:
        Names of N images; name of a score -> (N,) of these images.
    """
    names = list(key_list(images))
    by_name = dict(zip(scores.names, scores.values.tolist(), strict=True))
    found = {CFS: np.array([by_name[name] for name in names])}
    simple = simple_scores(images, cache)
    ranks = np.mean([rankdata(values) for values in simple.values()], axis=0)
    found |= simple | {SIMPLE: ranks}
    found[BOTH] = rankdata(found[CFS]) + rankdata(ranks)
    return names, found


def areas(values: np.ndarray, kinds: Sequence[str]) -> dict[str, float]:
    """Area under the ROC curve of the target's domain against all else, and against each kind.

    Args:
        values: (N,) scores; 0.5 is chance, 1 a score that is always higher in the domain.
        kinds: N of :data:`~dinopretrain.data.pool.plan.KINDS`.

    Returns:
        "all" and each other kind -> area.
    """
    kind = np.asarray(kinds)
    inside = kind == PERSON
    groups = {"all": ~inside, **{other: kind == other for other in OTHERS}}
    found = {}
    for name, outside in groups.items():
        chosen = inside | outside
        found[name] = float(roc_auc_score(inside[chosen], values[chosen]))
    return found


def separation(
    scores: Scores, images: UnlabelledImages, cache: Path
) -> dict[str, dict[str, float]]:
    """:func:`areas` of CFS, of the simple filters, and of both together."""
    names, found = all_scores(scores, images, cache)
    known = truth()
    kinds = [known[os.path.basename(name)] for name in names]
    return {name: areas(values, kinds) for name, values in found.items()}


def separation_table(of_seeds: Sequence[Mapping[str, Mapping[str, float]]]) -> str:
    """Markdown table of :func:`separation`, mean ± standard deviation over the seeds."""
    columns = ["all", *OTHERS]
    titles = ["all others", *(name.replace("_", " ") for name in OTHERS)]
    lines = [f"| area under ROC, {len(of_seeds)} seed(s) | {' | '.join(titles)} |"]
    lines.append("|---" * (1 + len(columns)) + "|")
    for name in of_seeds[0]:
        cells = []
        for column in columns:
            values = np.array([seed[name][column] for seed in of_seeds])
            varies = len(values) > 1 and values.std() > 0
            cells.append(
                f"{values.mean():.2f}" + (f" ± {values.std(ddof=1):.2f}" if varies else "")
            )
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)
