"""Continue from a checkpoint of the released DINO implementation, or write ours in its format.

CONFIG=projects/DINOPretrain/configs/LUPerson/vit_small.yml
transreid convert-dino checkpoint0020.pth --config-file $CONFIG
transreid train --config-file $CONFIG --resume

transreid convert-dino logs/LUPerson/dino_vit_small/model_0019.pth --to released \\
    -o checkpoint0020.pth --config-file $CONFIG
"""

from __future__ import annotations

import argparse

from dinopretrain.weights.runs import convert
from reid_common.errors import UserError
from reid_core.config import load_config
from reid_core.run.command_line import add_config_arguments, command_parser

from .command import command


def parser() -> argparse.ArgumentParser:
    """The command line."""
    lines = command_parser(__doc__)
    add = lines.add_argument
    add("checkpoint", help="file of the released format, or ours for --to released")
    out = "folder of the run (default: its OUTPUT_DIR); for --to released the file to write"
    add("-o", "--out", default="", metavar="PATH", help=out)
    add("--to", choices=("ours", "released"), default="ours", help="format to write (ours)")
    add_config_arguments(lines, "config of the run")
    return lines


@command(parser)
def main(args: argparse.Namespace) -> None:
    """Run the command line."""
    if not args.config_file:
        raise UserError("--config-file is needed: the config of the run that the checkpoint is of")
    print(convert(args.checkpoint, args.to, args.out, load_config(args.config_file, args.opts)))
