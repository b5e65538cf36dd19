"""Memory of a process, and processes of their own for what is measured."""

from __future__ import annotations

import functools
import multiprocessing
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

# Fields of /proc: resident memory now and at its highest, not shared.
RSS, HIGHEST, USS = ["Rss"], ["VmHWM"], ["Private_Clean", "Private_Dirty"]


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


def in_child(function: Callable[..., Any], *args: Any, method: str = "spawn") -> Any:
    """Return what a function of a module returns in a process of its own.

    "spawn" starts it with memory that holds imports only, "fork" at once. Raises RuntimeError if
    the process ends without a result.
    """
    others = set(multiprocessing.active_children())
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(1, context, _start_as_the_system) as pool:
        pool.submit(int).result()  # starts the process
        (process,) = set(multiprocessing.active_children()) - others
        try:
            return pool.submit(function, *args).result()
        except BrokenProcessPool as error:
            process.join()
            raise RuntimeError(
                f"the process of {function} ended with exit code {process.exitcode}, see above"
            ) from error


def _start_as_the_system() -> None:
    # A spawned process would spawn its loader's workers, too; the system's default is what counts.
    multiprocessing.set_start_method(None, force=True)


def in_children(
    function: Callable[..., Any], cases: Mapping[str, Sequence[Any]], method: str = "spawn"
) -> dict[str, Callable[[], Any]]:
    """Contenders: by its name, the call of ``function`` with each case's arguments in a child."""
    return {
        name: functools.partial(in_child, function, *case, method=method)
        for name, case in cases.items()
    }
