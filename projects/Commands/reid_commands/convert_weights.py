"""Convert weights of any known format into our checkpoint, or ours into the released format.

transreid convert transformer_120.pth -o ours.pth \\
    --config-file projects/TransReID/configs/Market1501/vit_transreid_stride.yml
transreid convert ours.pth -o released.pth --to released --config-file ...
"""

from __future__ import annotations

import argparse

from reid_common.errors import UserError
from reid_core.run.command_line import add_config_arguments, command_parser
from transreid.weights.conversion import FORMATS, convert

from .command import command


def parser() -> argparse.ArgumentParser:
    """The command line."""
    lines = command_parser(__doc__)
    add = lines.add_argument
    add("weights", help="checkpoint of any known format")
    add("-o", "--out", required=True, metavar="FILE", help="file to write")
    add("--to", choices=FORMATS, default="ours", help="format to write (ours)")
    add_config_arguments(lines)
    return lines


@command(parser, logged="transreid")
def main(args: argparse.Namespace) -> None:
    """Run the command line."""
    if not args.config_file:
        raise UserError("--config-file is needed: the config of the model that the weights are of")
    convert(args.weights, args.out, args.config_file, args.to, args.opts)
    print(f"wrote {args.out} ({args.to})")
