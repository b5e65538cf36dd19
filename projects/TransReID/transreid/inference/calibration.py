"""Calibration: thresholds at wanted false accept rates, as JSON, picture and table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from reid_common.errors import UserError
from reid_common.files import write_json
from reid_common.left_out import MOST, check_left_out
from reid_common.pictures import plt, save_figure
from tabulate import tabulate

from .feature_files import FeatureSet, read_features
from .pairs import MAX_PAIRS, identity_pairs, pair_similarities, read_pairs
from .verification import OperatingPoint, check_rates, operating_point, roc

MAX_DRAWN = 2000  # points of the curve


@dataclass(frozen=True)
class PairChoice:
    """Which pairs a calibration is made on."""

    pairs: str = ""  # CSV of labelled pairs; "" takes the identities in the feature file
    across_cameras: bool = False  # of the identities, only pairs of two cameras
    max_pairs: int = MAX_PAIRS  # of the identities, of either kind; beyond it a random sample
    seed: int = 0  # of that sample
    max_bad: float = MOST  # greatest share of images without identity (or camera), 0..1

    def __post_init__(self) -> None:
        if self.max_pairs < 1:
            raise UserError(f"--max-pairs is {self.max_pairs}; give at least 1")


def calibrate(features_file: str, choice: PairChoice, rates: Sequence[float], out: Path) -> None:
    """Find the thresholds at false accept rates, 0..1, of a file of ``transreid extract``.

    Writes calibration.json and roc.png into the folder ``out``, and prints the table.

    Raises:
        UserError: a file that cannot be read, no pairs of either kind, a rate out of range.
    """
    check_rates(rates)
    features = read_features(features_file)
    pairs, same = _chosen_pairs(features, features_file, choice)
    similarities = pair_similarities(features.features, pairs)
    points = [operating_point(similarities, same, rate) for rate in rates]
    result: dict[str, Any] = {
        "features": features_file,
        **asdict(choice),
        "pairs": choice.pairs or "identities",
        "num_positive": int(same.sum()),
        "num_negative": int((~same).sum()),
        "weights_sha256": features.meta.get("weights_sha256", ""),
        "points": [asdict(point) for point in points],
    }
    write_json(out / "calibration.json", result)
    draw_roc(similarities, same, points, out / "roc.png")
    print(f"{result['num_positive']} positive and {result['num_negative']} negative pairs")
    print(table(points))
    for point in points:
        if point.remark:
            print(f"{'note' if point.supported else 'WARNING'}: {point.remark}")
    print(f"Intervals take pairs as independent; pairs that share images make them wider. {out}/")


def _chosen_pairs(
    features: FeatureSet, file: str, choice: PairChoice
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs (P, 2) as positions in a feature file, and (P,) True for the same identity."""
    if choice.pairs:
        return read_pairs(Path(choice.pairs), features)
    if features.pids is None:
        raise UserError(
            f"{file} holds no identities; extract it from a CSV with the column identity"
        )
    if choice.across_cameras and features.camids is None:
        raise UserError(f"{file} holds no cameras, which --across-cameras needs")
    cameras = features.camids if choice.across_cameras else None
    unknown = {"without an identity": int((features.pids < 0).sum())}
    if cameras is not None:
        unknown["without a camera"] = int(((features.pids >= 0) & (cameras < 0)).sum())
    remedy = "--max-bad allows a greater share"
    known = {reason: count for reason, count in unknown.items() if count}
    check_left_out(len(features), known, f"images of {file}", choice.max_bad, remedy)
    return identity_pairs(features.pids, cameras, choice.max_pairs, choice.seed)


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
