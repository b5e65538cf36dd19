#!/usr/bin/env python3
"""Find the similarity from which two images count as the same identity.

python tools/calibrate.py pairs.csv --features features.npz --far 0.001
python tools/calibrate.py --identities --features features.npz --far 0.01 0.001 0.0001

PAIRS is a CSV with the columns image_a, image_b and same (0 or 1); the images are found in the
feature file by their paths. --identities makes the pairs from the identities in the feature file
(of tools/extract_features.py with a CSV). For each false accept rate: the threshold, the share of
true pairs accepted there, 95% intervals. transreid/features/verification.py has the definitions.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from reid_common.errors import UserError
from reid_common.pictures import save_figure
from reid_common.tables import cell_text, read_rows
from reid_core.run.command_line import show_user_errors
from reid_core.run.reports import write_json
from tabulate import tabulate
from transreid.inference.feature_files import FeatureSet, read_features
from transreid.inference.pairs import MAX_PAIRS, identity_pairs, pair_similarities
from transreid.inference.verification import OperatingPoint, check_rates, operating_point, roc

COLUMNS = ("image_a", "image_b", "same")
MAX_DRAWN = 2000  # points of the curve


def read_pairs(path: Path, features: FeatureSet) -> tuple[np.ndarray, np.ndarray]:
    """Read a CSV of labelled pairs.

    Args:
        path: CSV with the columns image_a, image_b, same; paths as in the feature file, or relative
            to the folder of the CSV.
        features: where the images must be.

    Returns:
        (P, 2) positions in ``features``; (P,) True for the same identity.

    Raises:
        UserError: no such file, a malformed row, an image that has no feature or is paired with
            itself, or a pair with both labels; line is named.
    """
    if not path.is_file():
        raise UserError(f"there is no file {str(path)!r}; give a CSV with {', '.join(COLUMNS)}")
    known = {os.path.abspath(name): row for row, name in enumerate(features.paths)}
    pairs, same = [], []
    labelled: dict[tuple[int, ...], tuple[str, str]] = {}  # pair -> label, where it was read
    for place, cells in read_rows(str(path), COLUMNS, COLUMNS):
        row = {name: cell_text(cells[name]) for name in COLUMNS}
        if row["same"] not in ("0", "1"):
            raise UserError(f"{place}: same is {row['same']!r}; write 1 or 0")
        pair = [_position(row[name], path, known, place) for name in COLUMNS[:2]]
        if pair[0] == pair[1]:
            raise UserError(
                f"{place}: {row['image_a']!r} is paired with itself, which says nothing about a "
                "threshold; remove the row"
            )
        label, first = labelled.setdefault(tuple(sorted(pair)), (row["same"], place))
        if label != row["same"]:
            raise UserError(
                f"{place}: {row['image_a']!r} and {row['image_b']!r} have same {row['same']} here "
                f"and {label} in {first}; keep the row that is right"
            )
        pairs.append(pair)
        same.append(row["same"] == "1")
    return np.array(pairs, np.int64).reshape(-1, 2), np.array(same, bool)


def _position(name: str, listed_in: Path, known: dict[str, int], place: str) -> int:
    for path in (name, os.path.join(listed_in.parent, name)):
        if os.path.abspath(path) in known:
            return known[os.path.abspath(path)]
    raise UserError(f"{place}: {name!r} is not in the feature file; name it as it is there")


def pairs_of_identities(
    features: FeatureSet, args: argparse.Namespace
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs from the identities (and cameras) of a feature file."""
    if features.pids is None:
        raise UserError(
            f"{args.features} holds no identities; extract it from a CSV with the column identity"
        )
    if args.across_cameras and features.camids is None:
        raise UserError(f"{args.features} holds no cameras, which --across-cameras needs")
    cameras = features.camids if args.across_cameras else None
    return identity_pairs(features.pids, cameras, args.max_pairs, args.seed)


def draw_roc(
    similarities: np.ndarray, same: np.ndarray, points: Sequence[OperatingPoint], out: Path
) -> None:
    """Draw TAR over FAR (logarithmic) with the operating points, to a PNG."""
    far, tar = roc(similarities, same)
    shown = np.unique(np.geomspace(1, len(far), MAX_DRAWN).astype(int) - 1)
    figure, axis = plt.subplots(figsize=(6, 4.5), dpi=110, layout="constrained")
    lowest = 0.5 / int((~same).sum())  # where the axis begins; a FAR of 0 is drawn there
    axis.step(np.maximum(far[shown], lowest), tar[shown], where="post", color="#1d3557")
    for point in points:
        style = {"marker": "o" if point.supported else "x", "linestyle": "none"}
        label = f"FAR ≤ {point.wanted_far:g}: s ≥ {point.threshold:.5f}, TAR {point.tar:.1%}"
        axis.plot(max(point.far, lowest), point.tar, label=label, **style)
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


@show_user_errors
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    args = _parser().parse_args(argv)
    if bool(args.pairs) == args.identities:
        raise UserError("give either a CSV of pairs or --identities")
    if args.max_pairs < 1:
        raise UserError(f"--max-pairs is {args.max_pairs}; give at least 1")
    check_rates(args.far)
    features = read_features(args.features)
    if args.identities:
        pairs, same = pairs_of_identities(features, args)
    else:
        pairs, same = read_pairs(Path(args.pairs), features)
    similarities = pair_similarities(features.features, pairs)
    points = [operating_point(similarities, same, far) for far in args.far]
    result: dict[str, Any] = {
        "features": args.features,
        "pairs": "identities" if args.identities else args.pairs,
        "across_cameras": args.across_cameras,
        "max_pairs": args.max_pairs,
        "seed": args.seed,
        "num_positive": int(same.sum()),
        "num_negative": int((~same).sum()),
        "weights_sha256": features.meta.get("weights_sha256", ""),
        "points": [point.as_json() for point in points],
    }
    out = Path(args.out)
    write_json(out / "calibration.json", result)
    draw_roc(similarities, same, points, out / "roc.png")
    print(f"{result['num_positive']} positive and {result['num_negative']} negative pairs")
    print(table(points))
    for point in points:
        if point.remark:
            print(f"{'note' if point.supported else 'WARNING'}: {point.remark}")
    print(f"Intervals take pairs as independent; pairs that share images make them wider. {out}/")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pairs", nargs="?", help="CSV with image_a, image_b, same")
    parser.add_argument("--features", required=True, help="features.npz or .parquet")
    parser.add_argument("--identities", action="store_true", help="pairs from the identities")
    parser.add_argument(
        "--across-cameras", action="store_true", help="with --identities: of two cameras only"
    )
    parser.add_argument(
        "--far", type=float, nargs="+", default=[0.001], help="wanted false accept rates (0.001)"
    )
    parser.add_argument(
        "--max-pairs",
        type=int,
        default=MAX_PAIRS,
        help=f"with --identities: most pairs of either kind, beyond it a sample ({MAX_PAIRS})",
    )
    parser.add_argument("--seed", type=int, default=0, help="of that sample")
    parser.add_argument("-o", "--out", default="calibration", help="folder for JSON and picture")
    return parser


if __name__ == "__main__":
    sys.exit(main())
