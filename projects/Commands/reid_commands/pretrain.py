"""Conditional pre-training: choose what to pre-train on, pre-train, fine-tune, evaluate.

transreid pretrain --config-file projects/CFS/configs/Toy.yml
transreid pretrain --config-file c.yml --only score select ALL.MODEL.DEVICE cpu KEEP 0.5

Seven stages: source (DINO on the source data), target (training on the target, from that), score,
select, pretrain (DINO on the selection), finetune, evaluate. Finished stages are skipped; interrupt
or kill it at any time: the same command resumes. KEY VALUE pairs change the pipeline's config;
SOURCE.KEY, TARGET.KEY, PRETRAIN.KEY, FINETUNE.KEY, EVALUATE.KEY and ALL.KEY those of its stages, as
in ALL.MODEL.DEVICE cpu SOURCE.SOLVER.MAX_EPOCH 3.
"""

from __future__ import annotations

import argparse

from cfs.pipeline import run as pipeline_run
from cfs.pipeline.config import PAIRS, STAGES, default_config
from reid_core.run.command_line import add_config_arguments, command_parser

from .command import command


def parser() -> argparse.ArgumentParser:
    """The command line."""
    lines = command_parser(__doc__)
    add = lines.add_argument
    stages = f"run these stages only, of {', '.join(STAGES)}"
    add("--only", nargs="+", default=[], metavar="STAGE", help=stages)
    add("--from", dest="start", default="", metavar="STAGE", help="begin with this stage")
    add("--dry-run", action="store_true", help="print stages, sizes and estimated cost")
    add_config_arguments(lines, "config of the pipeline", PAIRS, required=True)
    return lines


@command(parser, default_config, resumes=True)
def main(args: argparse.Namespace) -> None:
    """Run the command line."""
    work = (args.config_file, args.opts, args.only, args.start)
    if args.dry_run:
        from cfs.pipeline.dry_run import dry_run

        print(dry_run(*work))
    else:
        pipeline_run.run_pipeline(*work)
