"""Commands of a pipeline in forks of the process that runs it, which has imported everything.

That process trains nothing itself: a fork of one that has could not calculate gradients.
``forked.py MODULE WORDS`` is ``python -m MODULE WORDS`` so, and prints how many were forked.
"""

from __future__ import annotations

import importlib
import os
import runpy
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from cfs.pipeline import process


def run_forked(command: Sequence[str], log: Path, tick: Callable[[], None]) -> int:
    """As ``cfs.pipeline.process.run_command``, of ``python -m MODULE``, without Python's start."""
    log.parent.mkdir(parents=True, exist_ok=True)
    child = os.fork()
    if child == 0:
        _run_here(command, log)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def _run_here(command: Sequence[str], log: Path) -> None:
    status = 1
    try:
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
        assert command[1] == "-m"
        sys.argv = list(command[2:])
        runpy.run_module(command[2], run_name="__main__")
        status = 0
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def main(module: str, *words: str) -> int:
    """The exit status of a command, whose stages are forks."""
    started: list[Sequence[str]] = []

    def run(command: Sequence[str], log: Path, tick: Callable[[], None]) -> int:
        started.append(command)
        return run_forked(command, log, tick)

    process.run_command = run
    status = importlib.import_module(module).main([*words])
    print("forked:", len(started))
    return status


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
