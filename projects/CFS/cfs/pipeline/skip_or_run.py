"""Where a pipeline decides whether a stage is skipped, resumed or run."""

from __future__ import annotations

import time

from . import process
from .checks.history import check_outputs, check_record
from .records import DONE, FOLDER, Record, attempt, duration, in_words, now, read_record
from .stages.settings import digests
from .stages.stage import Stage


def run_unless_done(stage: Stage, label: str, begin: float, check: bool = False) -> Record:
    """Skip a stage whose record says that it is done; else run or resume it, and keep its record.

    Messages call it ``label``; the pipeline started at ``begin`` by time.monotonic; with ``check``
    its config and data are still to be checked.

    Raises:
        UserError: what earlier calls have left does not belong to this one; or a command failed.
    """
    record = read_record(stage.folder, stage.name)
    settings = {**stage.settings, **digests(stage.inputs)}
    check_record(stage, record, settings)
    if record is not None and record.done:
        print(f"{label}: done before, in {duration(record.seconds)}", flush=True)
        return record
    if check:
        stage.check()
    print(f"\n{label}: {stage.title} ({_elapsed(begin)})", flush=True)
    with attempt(stage, record, settings, label) as (record, save):
        log = stage.folder / FOLDER / f"{stage.name}.log"
        process.run_commands(stage.commands, log, save, label)
        stage.collect()
        check_outputs(stage)
        record.sizes, record.status, record.finished = stage.sizes(), DONE, now()
    done = f"done in {duration(record.seconds)}, {in_words(record.sizes)}"
    print(f"{label}: {done} ({_elapsed(begin)})", flush=True)
    return record


def _elapsed(begin: float) -> str:
    return f"{duration(time.monotonic() - begin)} since the start"
