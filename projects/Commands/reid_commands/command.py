"""What the main functions of all commands have in common."""

from __future__ import annotations

import argparse
import functools
import logging
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from reid_core.run.command_line import RESUMES, parse_command, show_user_errors


def command(
    parser: Callable[[], argparse.ArgumentParser],
    keys: Callable[[], Mapping[str, Any]] | None = None,
    logged: str = "",
    resumes: bool = False,
) -> Callable[[Callable[[argparse.Namespace], int | None]], Callable[..., int]]:
    """Decorate what works on parsed arguments: it takes a command line (None: of this process).

    The function may return an exit status; None is 0.

    Args:
        parser: makes the parser of the command.
        keys: makes the config that KEY VALUE pairs change, see :func:`parse_command`.
        logged: package whose log is shown; of the others only warnings are.
        resumes: the same command resumes where this one was interrupted.
    """

    def decorate(function: Callable[[argparse.Namespace], int | None]) -> Callable[..., int]:
        @show_user_errors
        @functools.wraps(function)
        def main(argv: Sequence[str] | None = None) -> int:
            lines = parser()
            has_pairs = any(action.dest == "opts" for action in lines._actions)
            if has_pairs:
                args = parse_command(lines, argv, keys and keys())
            else:
                args = lines.parse_args(argv)
            logging.basicConfig(level=logging.WARNING, format="%(message)s")
            if logged:
                logging.getLogger(logged).setLevel(logging.INFO)
            try:
                return function(args) or 0
            except KeyboardInterrupt as interruption:
                if not resumes:
                    raise
                print(RESUMES, file=sys.stderr)
                # The signal is known where it ended a child, see cfs.pipeline.process
                return 128 + getattr(interruption, "signum", signal.SIGINT)

        return main

    return decorate
