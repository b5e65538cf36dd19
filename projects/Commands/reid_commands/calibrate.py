"""Find the similarity from which two images count as the same identity.

transreid calibrate pairs.csv --features features.npz --far 0.001
transreid calibrate --identities --features features.npz --far 0.01 0.001 0.0001

PAIRS is a CSV with the columns image_a, image_b and same (0 or 1); the images are found in the
feature file by their paths. With --identities the pairs come from the identities in the feature
file (transreid extract of a CSV with the column identity). Prints for each false accept rate the
threshold and the share of true pairs accepted, with 95% intervals.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from reid_common.errors import UserError
from reid_core.run.command_line import command_parser
from transreid.inference.calibration import PairChoice, calibrate
from transreid.inference.pairs import MAX_PAIRS

from .arguments import add_max_bad
from .command import command


def parser() -> argparse.ArgumentParser:
    """The command line."""
    lines = command_parser(__doc__)
    add = lines.add_argument
    add("pairs", nargs="?", default="", help="CSV with image_a, image_b, same")
    add("--features", required=True, metavar="FILE", help="features.npz or .parquet")
    add("--identities", action="store_true", help="take the pairs from the identities")
    add("--across-cameras", action="store_true", help="with --identities: pairs of two cameras")
    add("--far", type=float, nargs="+", default=[0.001], help="false accept rates (0.001)")
    most = "with --identities: maximum number of pairs of either kind; beyond it a random sample"
    add("--max-pairs", type=int, default=MAX_PAIRS, metavar="N", help=f"{most} (%(default)s)")
    add("--seed", type=int, default=0, help="seed of that sample (0)")
    add_max_bad(lines, "images without identity (or camera) with --identities")
    out = Path("calibration")
    add("-o", "--out", type=Path, default=out, metavar="DIR", help="folder (%(default)s)")
    return lines


@command(parser)
def main(args: argparse.Namespace) -> None:
    """Run the command line."""
    if bool(args.pairs) == args.identities:
        raise UserError("give either a CSV of pairs or --identities")
    choice = PairChoice(args.pairs, args.across_cameras, args.max_pairs, args.seed, args.max_bad)
    calibrate(args.features, choice, args.far, args.out)
