"""Write the reference of all config keys from their declaration.

transreid config-reference -o docs/config.md
"""

from __future__ import annotations

import argparse
from pathlib import Path

from reid_common.files import replacing
from reid_core.config.reference import reference
from reid_core.run.command_line import command_parser

from .command import command


def parser() -> argparse.ArgumentParser:
    """The command line."""
    lines = command_parser(__doc__)
    lines.add_argument("-o", "--out", type=Path, required=True, metavar="FILE", help="Markdown")
    return lines


@command(parser)
def main(args: argparse.Namespace) -> None:
    """Run the command line."""
    with replacing(args.out) as temporary:
        temporary.write_text(reference())
