"""Publish a trained model as a folder that travels: weights, config, preprocessing, model card.

transreid publish -o market-vit --config-file logs/run/config.yaml \\
    --weights logs/run/model_final.pth --results logs/run/results_Market1501.npz \\
    --calibration calibration --license apache-2.0
transreid publish -o market-vit --push me/market-vit

FeatureExtractor.from_pretrained and --weights of all commands read the folder. --results are of
evaluations of these weights with TEST.FASTEVAL.SAVE_RESULTS npz: the model card shows their metrics
with intervals. Without a model, --push pushes the folder of -o as it is, with the card as you have
edited it; the token is that of huggingface-cli login or HF_TOKEN.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from reid_common.errors import UserError
from reid_common.published import FILES
from reid_core.run.command_line import add_config_arguments, command_parser
from transreid.publish.writing import Sources, write_published
from transreid.weights.hub import FILL_IN, check_name, check_pushable, push

from .arguments import add_weights
from .command import command


def parser() -> argparse.ArgumentParser:
    """The command line."""
    lines = command_parser(__doc__)
    add = lines.add_argument
    add("-o", "--out", required=True, type=Path, metavar="DIR", help="folder to write")
    add_weights(lines)
    results = "results files of evaluations of these weights, for the model card"
    add("--results", nargs="+", default=[], metavar="FILE", help=results)
    calibration = "folder of transreid calibrate, of features of these weights"
    add("--calibration", type=Path, metavar="DIR", help=calibration)
    add("--license", default="", metavar="NAME", help=f"of the weights (left as {FILL_IN})")
    add("--overwrite", action="store_true", help="replace a folder that was published before")
    add("--push", metavar="USER/NAME", help="push the folder to the Hugging Face hub")
    add("--private", action="store_true", help="with --push: a private repository")
    add_config_arguments(lines)
    return lines


def check_push(args: argparse.Namespace, has_model: bool) -> None:
    """Raise UserError where --push could not work, before a model is built."""
    if not args.push:
        return
    check_name(args.push)
    if has_model and not args.license:
        raise UserError(
            "--push needs --license, under which the weights are published; or write the folder "
            "first, edit its model card, and push it then: transreid publish -o DIR --push NAME"
        )


@command(parser)
def main(args: argparse.Namespace) -> None:
    """Run the command line."""
    has_model = bool(args.config_file or args.weights)
    if not has_model and not args.push:
        raise UserError(
            "nothing to do: name a model with --config-file and --weights, or where to push the "
            "folder of -o to with --push"
        )
    check_push(args, has_model)
    if has_model:
        sources = Sources(
            args.config_file,
            args.weights,
            args.opts,
            args.results,
            args.calibration,
            args.license,
            args.push or "",
        )
        extractor = write_published(args.out, sources, args.overwrite)
        print(f"{args.out}: features of {extractor.feature_dim} numbers, read again: equal")
        for name in FILES:
            if (args.out / name).exists():
                print(f"  {name} ({os.path.getsize(args.out / name) / 2**20:.2f} MiB)")
        if not args.license:
            print(f"fill in the licence in {args.out / 'README.md'}, in the places of {FILL_IN!r}")
    if args.push:
        check_pushable(args.out, args.push)
        print(f"pushed to {push(args.out, args.push, args.private)}")
