"""Calibration: thresholds at wanted false accept rates, as JSON, picture and table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from reid_common.errors import UserError
from reid_common.files import write_json
from reid_common.pictures import plt, save_figure
from tabulate import tabulate

from .feature_files import read_features
from .labelled_pairs import pairs_of_identities, read_pairs
from .pairs import MAX_PAIRS, pair_similarities
from .verification import OperatingPoint, check_rates, operating_point, roc

MAX_DRAWN = 2000  # points of the curve


@dataclass(frozen=True)
class PairChoice:
    """Which pairs a calibration is made on.

    Attributes:
        pairs: CSV of labelled pairs; "" takes the identities in the feature file.
        across_cameras: of the identities, only pairs of two cameras.
        max_pairs: of the identities, most pairs of either kind; beyond it a random sample.
        seed: of that sample.

    Raises:
        UserError: ``max_pairs`` is below 1.
    """

    pairs: str = ""
    across_cameras: bool = False
    max_pairs: int = MAX_PAIRS
    seed: int = 0

    def __post_init__(self) -> None:
        if self.max_pairs < 1:
            raise UserError(f"--max-pairs is {self.max_pairs}; give at least 1")


def calibrate(features_file: str, choice: PairChoice, rates: Sequence[float], out: Path) -> None:
    """Find the thresholds, write calibration.json and roc.png, and print the table.

    Args:
        features_file: .npz or .parquet of ``transreid extract``.
        choice: which pairs.
        rates: wanted false accept rates, 0..1.
        out: folder of the results.

    Raises:
        UserError: a file that cannot be read, no pairs of either kind, a rate out of range.
    """
    check_rates(rates)
    features = read_features(features_file)
    if choice.pairs:
        pairs, same = read_pairs(Path(choice.pairs), features)
    else:
        pairs, same = pairs_of_identities(
            features, features_file, choice.across_cameras, choice.max_pairs, choice.seed
        )
    similarities = pair_similarities(features.features, pairs)
    points = [operating_point(similarities, same, rate) for rate in rates]
    result: dict[str, Any] = {
        "features": features_file,
        "pairs": choice.pairs or "identities",
        "across_cameras": choice.across_cameras,
        "max_pairs": choice.max_pairs,
        "seed": choice.seed,
        "num_positive": int(same.sum()),
        "num_negative": int((~same).sum()),
        "weights_sha256": features.meta.get("weights_sha256", ""),
        "points": [point.as_json() for point in points],
    }
    write_json(out / "calibration.json", result)
    draw_roc(similarities, same, points, out / "roc.png")
    print(f"{result['num_positive']} positive and {result['num_negative']} negative pairs")
    print(table(points))
    for point in points:
        if point.remark:
            print(f"{'note' if point.supported else 'WARNING'}: {point.remark}")
    print(f"Intervals take pairs as independent; pairs that share images make them wider. {out}/")


def draw_roc(
    similarities: np.ndarray, same: np.ndarray, points: Sequence[OperatingPoint], out: Path
) -> None:
    """Draw TAR over FAR (logarithmic) with the operating points, to a PNG."""
    far, tar = roc(similarities, same)
    shown = np.unique(np.geomspace(1, len(far), MAX_DRAWN).astype(int) - 1)
    figure, axis = plt.subplots(figsize=(6, 4.5), dpi=110, layout="constrained")
    lowest = 0.5 / int((~same).sum())  # lower end of the axis; a FAR of 0 is drawn there
    axis.step(np.maximum(far[shown], lowest), tar[shown], where="post", color="#1d3557")
    for point in points:
        marker = "o" if point.supported else "x"
        label = f"FAR ≤ {point.wanted_far:g}: s ≥ {point.threshold:.5f}, TAR {point.tar:.1%}"
        axis.plot(max(point.far, lowest), point.tar, label=label, marker=marker, ls="none")
    axis.set_xscale("log")
    axis.set(
        xlim=(lowest, 1), ylim=(0, 1.02), xlabel="false accept rate", ylabel="true accept rate"
    )
    axis.set_title(f"{int(same.sum())} pairs of one identity, {int((~same).sum())} of two")
    axis.grid(alpha=0.3)
    axis.legend(loc="lower right", fontsize=8)
    save_figure(figure, out)


def table(points: Sequence[OperatingPoint]) -> str:
    """Operating points as text."""
    rows = [
        [
            f"{point.wanted_far:g}",
            f"{point.threshold:.6f}",
            _share(point.far, point.far_interval),
            _share(point.tar, point.tar_interval),
        ]
        for point in points
    ]
    headers = ["wanted FAR", "accept if s >=", "FAR, % (95% interval)", "TAR, % (95% interval)"]
    return tabulate(rows, headers=headers, disable_numparse=True)


def _share(share: float, interval: tuple[float, float]) -> str:
    low, high = (f"{100 * bound:.4g}" for bound in interval)
    return f"{100 * share:.4g} ({low} to {high})"
