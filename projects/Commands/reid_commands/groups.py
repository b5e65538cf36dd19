"""Commands of several subcommands, each a module that is imported when it is called.

``transreid --help`` therefore needs no torch.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.metadata
import os
import sys
from collections.abc import Callable, Mapping, Sequence

from reid_common.processes import end_with_parent

PARENT = os.getppid()  # before the imports of a subcommand: they take seconds, in which it may die
DISTRIBUTION = "fastreid-transreid"


def group_main(
    description: str | None, commands: Mapping[str, tuple[str, str]], name: str | None = None
) -> Callable[..., int]:
    """The main function of a group: takes a subcommand and its words, returns the exit status.

    Args:
        description: text on top of the help.
        commands: subcommand -> its module below this package, and what it does in one line.
        name: of the group; default: of the program.
    """

    def main(argv: Sequence[str] | None = None) -> int:
        parser = _parser(description, commands, name)
        if "LOCAL_RANK" in os.environ:
            # torchrun gives each worker a session of its own: killed, it would leave them behind
            # with their locks.
            end_with_parent(PARENT)
        with contextlib.suppress(ImportError):
            import argcomplete

            argcomplete.autocomplete(parser)
        args = parser.parse_args(argv)
        module = importlib.import_module(f"{__package__}.{commands[args.command][0]}")
        sys.argv[:] = [f"{parser.prog} {args.command}", *args.words]  # for usage and messages
        return module.main(args.words)

    return main


def _parser(
    description: str | None, commands: Mapping[str, tuple[str, str]], name: str | None
) -> argparse.ArgumentParser:
    width = max(map(len, commands))
    lines = [f"  {command:<{width}}  {text}" for command, (_, text) in commands.items()]
    parser = argparse.ArgumentParser(
        prog=name,
        description=description,
        epilog="\n".join(["commands:", *lines]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="%(prog)s COMMAND ... (COMMAND --help shows its options)",
    )
    try:
        version = importlib.metadata.version(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        version = "not installed"
    parser.add_argument("--version", action="version", version=f"%(prog)s {version}")
    parser.add_argument(
        "command", choices=commands, metavar="COMMAND", help="one of the commands below"
    )
    parser.add_argument("words", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser
