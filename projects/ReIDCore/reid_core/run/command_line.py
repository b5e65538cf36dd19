"""Command-line tools: bad input ends as one message, not as a traceback."""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Callable
from typing import Any, TypeVar

from fastreid.utils.logger import setup_logger
from reid_common.errors import UserError
from torch.multiprocessing import ProcessExitedException

from ..config.projects import PROJECTS

EXIT_CODE = 2
Result = TypeVar("Result")


class _NoUserErrorTraceback(logging.Filter):
    """Drop FastReID's "Exception during training" for errors that are shown as a message anyway."""

    def filter(self, record: logging.LogRecord) -> bool:
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
        logging.getLogger("fastreid.engine.train_loop").addFilter(_NoUserErrorTraceback())
        try:
            return function(*args, **kwargs)
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(EXIT_CODE)
        except ProcessExitedException as error:
            if error.exit_code != EXIT_CODE:
                raise
            sys.exit(EXIT_CODE)

    return wrapped
