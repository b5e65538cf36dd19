#!/usr/bin/env python3
"""Conditional pre-training: choose what to pre-train on, pre-train, fine-tune, evaluate.

python tools/conditional_pretrain.py --config-file projects/CFS/configs/Toy.yml

Seven stages: source (DINO on the source data), target (training on the target, from that), score,
select, pretrain (DINO on the selection), finetune, evaluate. Interrupt or kill it at any time: the
same command goes on. What is done is skipped. KEY VALUE pairs change the pipeline's config;
SOURCE.KEY, TARGET.KEY, PRETRAIN.KEY, FINETUNE.KEY, EVALUATE.KEY and ALL.KEY those of its stages, as
in ALL.MODEL.DEVICE cpu SOURCE.SOLVER.MAX_EPOCH 3.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence

from cfs.pipeline import run as pipeline_run
from cfs.pipeline.config import STAGES
from reid_core.run.command_line import show_user_errors


@show_user_errors
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    args = parse(argv)
    try:
        if args.dry_run:
            from cfs.pipeline import dry_run as pipeline_dry_run

            print(pipeline_dry_run.dry_run(args.config_file, args.opts, args.only, args.start))
        else:
            pipeline_run.run_pipeline(args.config_file, args.opts, args.only, args.start)
    except KeyboardInterrupt as interruption:  # of a child: Interrupted
        print("\ninterrupted: the same command goes on from here", file=sys.stderr)
        return 128 + getattr(interruption, "signum", signal.SIGINT)
    return 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Arguments of a command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", required=True, metavar="YAML", help="of the pipeline")
    names = ", ".join(STAGES)
    parser.add_argument("--only", nargs="+", default=[], metavar="STAGE", help=names)
    parser.add_argument("--from", dest="start", default="", metavar="STAGE", help="begin with it")
    parser.add_argument(
        "--dry-run", action="store_true", help="print stages, sizes and estimated cost"
    )
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="changes of the config")
    args = parser.parse_intermixed_args(argv)
    # What stands behind --only STAGE ... in capitals are options.
    first = next((n for n, word in enumerate(args.only) if word.isupper()), len(args.only))
    args.opts = [*args.only[first:], *args.opts]
    args.only = args.only[:first]
    return args


if __name__ == "__main__":
    sys.exit(main())
