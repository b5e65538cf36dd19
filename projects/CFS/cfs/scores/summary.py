"""What scores look like: counts, quantiles, means of folders."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from dinopretrain.data.listing import PARQUET
from dinopretrain.data.path_list import PathList

from .reading import Scores, read_scores, score_files
from .shards import read_reasons

QUANTILES = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)


@dataclass(frozen=True)
class Summary:
    """Summary of a folder of scores.

    Attributes:
        count: images.
        bad: reason -> images without a score for it, the most frequent first.
        quantiles: share of images below -> score; empty without scores.
        mean: of all scores; NaN without.
        folders: (top folder, images, mean score), highest mean first; "" for images in none.
    """

    count: int
    bad: dict[str, int]
    quantiles: dict[float, float]
    mean: float
    folders: list[tuple[str, int, float]]


def summary_of(path: str) -> Summary:
    """Summary of a folder of scores, or of one of the files that hold some."""
    parquet = [file for file in score_files(path) if file.lower().endswith(PARQUET)]
    return summarise(read_scores(path), read_reasons(parquet))


def headline(summary: Summary) -> str:
    """The summary in one line."""
    bad = sum(summary.bad.values())
    return f"{summary.count:,} images, {bad:,} of them bad, mean score {summary.mean:.4f}"


def summarise(scores: Scores, reasons: Sequence[tuple[str, str]] = ()) -> Summary:
    """Summary of all scores; ``reasons``: (name, why it has none) of images without one."""
    good = ~np.isnan(scores.values)
    values = scores.values[good].astype(np.float64)
    quantiles = {}
    if len(values):
        quantiles = dict(zip(QUANTILES, np.quantile(values, QUANTILES).tolist(), strict=True))
    bad = Counter(reason for _, reason in reasons)
    return Summary(
        len(scores.values),
        dict(bad.most_common()),
        quantiles,
        float(values.mean()) if len(values) else float("nan"),
        folder_means(scores.names, scores.values),
    )


def folder_means(paths: PathList, values: np.ndarray) -> list[tuple[str, int, float]]:
    """(top folder, images, mean score) of N names and scores (N,), the highest mean first.

    NaN counts as an image, not in the mean; folders without any score come last.
    """
    numbers: dict[bytes, int] = {}
    tops = (name.rpartition(b"/")[0].partition(b"/")[0] for name in paths.iter_raw())
    rows = np.fromiter((numbers.setdefault(t, len(numbers)) for t in tops), np.int64, len(paths))
    good = ~np.isnan(values)
    images = np.bincount(rows, minlength=len(numbers))
    scored = np.bincount(rows[good], minlength=len(numbers))
    sums = np.bincount(rows[good], values[good].astype(np.float64), len(numbers))
    means = np.full(len(numbers), np.nan)
    np.divide(sums, scored, out=means, where=scored > 0)
    names = [name.decode("utf-8", "replace") for name in numbers]
    order = sorted(range(len(names)), key=lambda i: (not scored[i], -means[i], names[i]))
    return [(names[i], int(images[i]), float(means[i])) for i in order]
