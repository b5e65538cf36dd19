"""Memory of a process, and processes of their own for what is measured."""

from __future__ import annotations

import contextlib
import inspect
import multiprocessing
import re
from collections.abc import Callable, Generator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

# Fields of /proc: resident memory now and at its highest, shared pages divided, not shared.
RSS, HIGHEST, PSS, USS = ["Rss"], ["VmHWM"], ["Pss"], ["Private_Clean", "Private_Dirty"]


def memory(fields: Sequence[str]) -> float:
    """Return the sum of fields of /proc for this process, in MiB; NaN where there is no /proc."""
    found: dict[str, str] = {}
    for path in (Path("/proc/self/status"), Path("/proc/self/smaps_rollup")):
        text = path.read_text() if path.exists() else ""
        found |= re.findall(r"^(\w+):\s+(\d+) kB", text, re.MULTILINE)
    return sum(float(found.get(field, "nan")) for field in fields) / 1024


def forget_peak() -> None:
    """Let the highest memory of this process count from now on (Linux)."""
    if Path("/proc/self/clear_refs").exists():
        Path("/proc/self/clear_refs").write_text("5")


def answers(
    function: Callable[..., Any], *args: Any, method: str = "spawn"
) -> Generator[Any, None, None]:
    """Run a function in a process of its own; yield what it returns, or all that it yields.

    The process works only while an answer is awaited, and ends when this generator is closed.

    Args:
        function: of a module, unless ``method`` is "fork".
        args: its arguments.
        method: "spawn": with memory that holds imports only; "fork": at once.

    Raises:
        RuntimeError: the process ended without an answer.
    """
    context = multiprocessing.get_context(method)
    ours, theirs = context.Pipe()
    process = context.Process(  # type: ignore[attr-defined]
        target=_answer, args=(theirs, ours, function, args)
    )
    process.start()
    theirs.close()  # so that a process that dies is an EOFError here
    try:
        while True:
            ours.send(None)
            yield ours.recv()
    except (EOFError, BrokenPipeError, ConnectionResetError) as error:
        process.join()
        raise RuntimeError(
            f"the process of {function} ended with exit code {process.exitcode}, see above"
        ) from error
    finally:
        ours.close()
        process.join()


def _answer(
    connection: Connection, other: Connection, function: Callable[..., Any], args: Sequence[Any]
) -> None:
    other.close()  # the parent's end: open here, it would never be found closed
    # A spawned process would spawn its loader's workers, too; the system's default is what counts.
    multiprocessing.set_start_method(None, force=True)
    result = function(*args)
    with contextlib.suppress(EOFError):  # the other end is closed: no more is asked
        for answer in result if inspect.isgenerator(result) else [result]:
            connection.recv()
            connection.send(answer)


def in_child(function: Callable[..., Any], *args: Any, method: str = "spawn") -> Any:
    """Return what a function returns in a process of its own; see :func:`answers`."""
    with contextlib.closing(answers(function, *args, method=method)) as stream:
        return next(stream)
