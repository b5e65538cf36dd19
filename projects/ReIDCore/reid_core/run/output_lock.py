"""One run at a time in a folder: a second one is refused, with the process that holds it.

An evaluation counts as a run: it writes the log, config.yaml and results of the folder, too.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shlex
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from fastreid.utils import comm
from reid_common.errors import UserError
from reid_common.locks import only_holder

from .validation import check_output_dir

LOCK, HOLDER = ".run.lock", ".run.json"


@contextlib.contextmanager
def only_run(folder: str) -> Iterator[None]:
    """Hold OUTPUT_DIR, which is made, while the block runs; called in all processes of a run.

    The main process holds the lock, which ends with it, however that ends. "" is not held.

    Raises:
        UserError: in all processes, another run holds the folder, or nobody may write to it.
    """
    with contextlib.ExitStack() as stack:
        problem = None
        if folder and comm.is_main_process():
            try:
                check_output_dir(folder)
                stack.enter_context(_held(Path(folder)))
            except UserError as error:
                problem = str(error)
        problem = next(filter(None, comm.all_gather(problem)), None)
        if problem:
            raise UserError(problem)
        yield


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[None]:
    with only_holder(folder / LOCK, lambda: _refusal(folder)):
        run = {"pid": os.getpid(), "host": platform.node()}
        run["since"] = datetime.now().isoformat(" ", "seconds")
        run["command"] = " ".join([sys.argv[0], shlex.join(sys.argv[1:])])
        (folder / HOLDER).write_text(json.dumps(run))
        try:
            yield
        finally:
            (folder / HOLDER).unlink(missing_ok=True)


def _refusal(folder: Path) -> str:
    try:
        run = json.loads((folder / HOLDER).read_text())
        who = "process {pid} on {host}, since {since}, started with `{command}`".format(**run)
    except (OSError, ValueError, KeyError):  # it is just beginning or ending
        who = "another process"
    return (
        f"OUTPUT_DIR: {str(folder)!r} is in use by {who}. Wait for that run, stop it, or set "
        "OUTPUT_DIR to another folder"
    )
