"""Compute features of images: a folder, a list or a CSV into one .npz or .parquet file.

transreid extract photos/ -o features.npz \\
    --config-file logs/run/config.yaml --weights logs/run/model_final.pth

Interrupt it at any time: the same command resumes. Images that cannot be read are left out, named
and listed in features.npz.bad.csv; with --strict the exit status is then 1, and more than --max-bad
of them are an error. Of a CSV or Parquet table the columns image, identity, split, camera and view
are read.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from reid_core.run.command_line import command_parser
from transreid.inference.extraction import ExtractionReport, bad_list, extract_to_file
from transreid.inference.extractor import FeatureExtractor
from transreid.inference.feature_files import checked_suffix
from transreid.inference.image_lists import ImageItem, list_images

from .arguments import BACKENDS_LOG, add_extraction_arguments, build_extractor
from .command import command

MAX_NAMED = 10


def parser() -> argparse.ArgumentParser:
    """The command line."""
    lines = command_parser(__doc__)
    lines.add_argument("source", help="folder, image, list.txt or list.csv")
    lines.add_argument("-o", "--out", required=True, metavar="FILE", help=".npz or .parquet")
    lines.add_argument("--strict", action="store_true", help="exit status 1 if any is left out")
    add_extraction_arguments(lines)
    return lines


def extract(
    extractor: FeatureExtractor,
    items: Sequence[ImageItem],
    out: Path,
    args: argparse.Namespace,
    overwrite: bool,
) -> ExtractionReport:
    """Extract listed images into ``out``, and say on stderr what was left out."""
    if args.camera is not None:
        items = [i if i.camid >= 0 else i._replace(camid=args.camera) for i in items]
    report = extract_to_file(
        extractor, items, out, args.num_workers, args.shard_size, overwrite, args.max_bad
    )
    if report.bad:
        total = report.num_images + len(report.bad)
        print(f"{len(report.bad)} of {total} images left out ({bad_list(out)}):", file=sys.stderr)
        for path, reason in report.bad[:MAX_NAMED]:
            print(f"  {path}: {reason}", file=sys.stderr)
        if len(report.bad) > MAX_NAMED:
            print(f"  and {len(report.bad) - MAX_NAMED} more", file=sys.stderr)
    return report


@command(parser, resumes=True, logged=BACKENDS_LOG)
def main(args: argparse.Namespace) -> int:
    """Run the command line."""
    out = checked_suffix(args.out)
    items = list_images(args.source)  # first: a misspelt name is found before a model is built
    extractor = build_extractor(args)
    report = extract(extractor, items, out, args, args.overwrite)
    size = os.path.getsize(out) / 2**20
    earlier = f", {report.resumed} of them by an earlier call" if report.resumed else ""
    numbers = f"{report.num_images} features of {extractor.feature_dim} numbers"
    print(f"{out}: {numbers} ({size:.1f} MiB){earlier}")
    return int(bool(args.strict and report.bad))
