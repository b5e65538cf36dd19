"""Command lines: the arguments that all of them share, and bad input as one message.

Commands that read a config take ``--config-file YAML`` and KEY VALUE pairs for it. The pairs may
stand anywhere; options are understood before and behind them, and a value may begin with a minus:
``transreid train --config-file c.yml SOLVER.BASE_LR -0.1 --resume``.
"""

from __future__ import annotations

import argparse
import difflib
import functools
import logging
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from fastreid.config import CfgNode
from fastreid.utils.logger import setup_logger
from reid_common.errors import UserError
from torch.multiprocessing import ProcessExitedException

from ..config.projects import PROJECTS, load_config

EXIT_CODE = 2
RESUMES = "\ninterrupted: the same command resumes from here"
PAIRS = "change the config, as in MODEL.DEVICE cpu"
Result = TypeVar("Result")
KEY = re.compile(r"[A-Z][A-Z0-9_]*(\.[A-Z0-9_]+)*")


def command_parser(description: str | None) -> argparse.ArgumentParser:
    """A parser whose help shows ``description``, a module's docstring, as it is written."""
    return argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def add_config_arguments(
    parser: argparse.ArgumentParser,
    config_help: str = "config of the model",
    pairs_help: str = PAIRS,
    **options: Any,
) -> None:
    """Add ``--config-file`` and KEY VALUE pairs, which :func:`parse_command` gives as ``opts``."""
    options = {"default": "", "metavar": "YAML", "help": config_help, **options}
    parser.add_argument("--config-file", **options)
    add_pairs(parser, pairs_help)


def add_pairs(parser: argparse.ArgumentParser, pairs_help: str = PAIRS) -> None:
    """Add KEY VALUE pairs, as the last argument without a name."""
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help=pairs_help)
    # How commands named the pairs before they could stand anywhere
    parser.add_argument("--opts", "--options", dest="old_opts", nargs="*", help=argparse.SUPPRESS)


def parse_command(
    parser: argparse.ArgumentParser,
    argv: Sequence[str] | None = None,
    keys: Mapping[str, Any] | None = None,
) -> argparse.Namespace:
    """Parse a command line that has the arguments of :func:`add_config_arguments`.

    Args:
        parser: of the command.
        argv: words, None for those of this process.
        keys: the config that the pairs change; None: that of all projects.

    Raises:
        UserError: a key without a value.
    """
    words, pairs = split_pairs(parser, sys.argv[1:] if argv is None else argv, keys)
    args = parser.parse_intermixed_args(words)
    args.opts = [*args.opts, *(args.old_opts or []), *pairs]
    if len(args.opts) % 2:
        raise no_value(args.opts[-1])
    return args


def split_pairs(
    parser: argparse.ArgumentParser, argv: Sequence[str], keys: Mapping[str, Any] | None = None
) -> tuple[list[str], list[str]]:
    """Take the KEY VALUE pairs out of a command line: its other words, and the words of the pairs.

    Keys are words in capitals that the config has, or whose part before the dot is a section of
    the config or nearly one, unless they are the value of an option or a file.
    """
    if keys is None:  # loading them imports all projects
        keys = load_config() if any(map(KEY.fullmatch, argv)) else {}
    options = parser._option_string_actions
    others, pairs = list[str](), list[str]()
    words = iter(argv)
    for word in words:
        if _is_key(word, keys):
            value = next(words, None)
            if value is None or value.startswith("--") or value in options:
                raise no_value(word)
            pairs += [word, value]
            continue
        others.append(word)
        named = [action for name, action in options.items() if name.startswith(word)]
        exact = options.get(word) or (named[0] if named and word.startswith("--") else None)
        if exact is not None and exact.nargs is None:  # its value is no key
            others += [value for value in [next(words, None)] if value is not None]
    return others, pairs


def _is_key(word: str, keys: Mapping[str, Any]) -> bool:
    section, dot, _ = word.partition(".")
    if not KEY.fullmatch(word) or os.path.exists(word):
        return False
    if not dot:
        return word in keys and not isinstance(keys[word], CfgNode)
    sections = [name for name in keys if isinstance(keys[name], CfgNode)]
    return bool(difflib.get_close_matches(section, sections, n=1, cutoff=0.75))


def no_value(word: str) -> UserError:
    """The message of a key without a value."""
    return UserError(
        f"{word!r} has no value: changes of the config are pairs of KEY and VALUE, as in "
        "SOLVER.MAX_EPOCH 20 MODEL.DEVICE cpu"
    )


def positive(text: str) -> int:
    """Type of an argument that is a whole number of at least 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not positive")
    return number


def _is_no_user_error(record: logging.LogRecord) -> bool:
    """Drop FastReID's "Exception during training" for errors that are shown as a message anyway."""
    return not (record.exc_info and isinstance(record.exc_info[1], UserError))


def logged_packages() -> list[str]:
    """Packages whose log lines are shown beside FastReID's own."""
    return ["reid_common", "fastreid_compat", "reid_core", *PROJECTS]


def forget_loggers() -> None:
    """Take the handlers of FastReID's ``setup_logger`` off, for a next run in the same process."""
    setup_logger.cache_clear()
    for name in ("fastreid", *logged_packages()):
        logging.getLogger(name).handlers.clear()


def show_user_errors(function: Callable[..., Result]) -> Callable[..., Result]:
    """Decorate the main function of a tool: :class:`UserError` becomes ``error: ...``, exit code 2.

    It works in the parent and in the processes that ``launch`` starts: the child prints the
    message, the parent leaves with the same exit code. Other exceptions keep their traceback.
    """

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Result:
        logging.getLogger("fastreid.engine.train_loop").addFilter(_is_no_user_error)
        try:
            return function(*args, **kwargs)
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
        except ProcessExitedException as error:
            if error.exit_code != EXIT_CODE:
                raise
        sys.exit(EXIT_CODE)

    return wrapped
