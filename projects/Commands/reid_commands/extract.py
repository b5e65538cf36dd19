#!/usr/bin/env python3
"""Features of your own images: a folder, a list or a CSV into one .npz or .parquet file.

python tools/extract_features.py photos/ -o features.npz \
    --config-file logs/run/config.yaml --weights logs/run/model_final.pth

Interrupt it at any time: the same command resumes. Images that cannot be read are left out, named
and listed in features.npz.bad.csv; with --strict the exit status is then 1. Of a CSV or Parquet
table the columns image, identity, split, camera and view are read (see
transreid/inference/image_lists.py).
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from fastreid_compat.repairs.distributed.launch import num_cores
from reid_common.errors import UserError
from reid_core.run.command_line import show_user_errors
from transreid.inference.extraction import SHARD_SIZE, ExtractionReport, bad_list, extract_to_file
from transreid.inference.extractor import PRECISIONS, FeatureExtractor
from transreid.inference.feature_files import checked_suffix
from transreid.inference.image_lists import ImageItem, list_images

MAX_NAMED = 10
INTERRUPTED = 130  # what shells report of a program that Ctrl-C ended


def add_extraction_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments that say how images become features, shared with tools/search.py."""
    parser.add_argument("--config-file", default="", metavar="YAML", help="config of the model")
    parser.add_argument("--weights", metavar="PTH", help="checkpoint; default: MODEL.WEIGHTS")
    add_run_arguments(parser, SHARD_SIZE)
    parser.add_argument(
        "--global-only", action="store_true", help="without the parts of JPM: 5 times shorter"
    )
    parser.add_argument(
        "--camera", type=int, metavar="N", help="0-based camera of images that the list gives none"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace files of other settings")
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="changes of the config")


def add_run_arguments(parser: argparse.ArgumentParser, shard_size: int) -> None:
    """Arguments of any long work that puts images through models; score has them, too."""
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, ...")
    parser.add_argument("--batch-size", type=int, default=64, help="images at once (64)")
    parser.add_argument(
        "--precision", choices=list(PRECISIONS), default="fp32", help="of the matrix products"
    )
    parser.add_argument(
        "--num-workers",
        type=int,
        default=min(8, num_cores()),
        help="processes that read images; 0: none (default: one a core, at most 8)",
    )
    parser.add_argument(
        "--shard-size",
        type=int,
        default=shard_size,
        help="images a kill costs at most (%(default)s)",
    )


def build_extractor(args: argparse.Namespace) -> FeatureExtractor:
    """The model of a command line."""
    if not args.config_file:
        raise UserError("--config-file is missing: the YAML that the model was trained with")
    return FeatureExtractor(
        args.config_file,
        args.weights,
        device=args.device,
        batch_size=args.batch_size,
        precision=args.precision,
        global_only=args.global_only,
        options=args.opts,
    )


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
    try:
        report = extract_to_file(
            extractor, items, out, args.num_workers, args.shard_size, overwrite
        )
    except KeyboardInterrupt:
        print("\ninterrupted: the same command goes on from here", file=sys.stderr)
        sys.exit(INTERRUPTED)
    if report.bad:
        total = report.num_images + len(report.bad)
        print(f"{len(report.bad)} of {total} images left out ({bad_list(out)}):", file=sys.stderr)
        for path, reason in report.bad[:MAX_NAMED]:
            print(f"  {path}: {reason}", file=sys.stderr)
        if len(report.bad) > MAX_NAMED:
            print(f"  and {len(report.bad) - MAX_NAMED} more", file=sys.stderr)
    return report


@show_user_errors
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", help="folder, image, list.txt or list.csv")
    parser.add_argument("-o", "--out", required=True, help="features.npz or features.parquet")
    parser.add_argument("--strict", action="store_true", help="exit status 1 if any was left out")
    add_extraction_arguments(parser)
    args = parser.parse_intermixed_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    out = checked_suffix(args.out)
    items = list_images(args.source)  # first: a misspelt name is found before a model is built
    extractor = build_extractor(args)
    report = extract(extractor, items, out, args, args.overwrite)
    size = os.path.getsize(out) / 2**20
    print(
        f"{out}: {report.num_images} features of {extractor.feature_dim} numbers ({size:.1f} MiB)"
        + (f", {report.resumed} images done by an earlier call" if report.resumed else "")
    )
    return int(bool(args.strict and report.bad))


if __name__ == "__main__":
    sys.exit(main())
