"""Write the reference of all config keys from their declaration.

transreid config-reference -o docs/config.md
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from reid_common.files import replacing
from reid_core.config.reference import reference
from reid_core.run.command_line import command_parser, show_user_errors


def parser() -> argparse.ArgumentParser:
    """The command line."""
    lines = command_parser(__doc__)
    lines.add_argument("-o", "--out", type=Path, required=True, metavar="FILE", help="Markdown")
    return lines


@show_user_errors
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    args = parser().parse_args(argv)
    with replacing(args.out) as temporary:
        temporary.write_text(reference())
    return 0
