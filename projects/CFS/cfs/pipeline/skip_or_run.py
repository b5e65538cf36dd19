"""One stage: skipped when its record says that it is done, else run or resumed, and recorded."""

from __future__ import annotations

import time
from pathlib import Path

from . import process
from .checks.history import check_outputs, check_record
from .records import Record, duration, in_words, kept, log_file, next_attempt, read_record
from .stages import Stage
from .stages.settings import current_settings


def run_unless_done(
    stage: Stage, folder: Path, label: str, begin: float, check: bool = False
) -> Record:
    """Skip a stage whose record says that it is done; else run or resume it, and keep its record.

    Args:
        stage: what to run.
        folder: OUTPUT_DIR.
        label: what messages call it.
        begin: when the pipeline started, by time.monotonic.
        check: whether its config and data are still to be checked.

    Raises:
        UserError: see :func:`cfs.pipeline.checks.check_record`; or a command failed.
    """
    record, settings = read_record(folder, stage.name), current_settings(stage)
    check_record(stage, record, settings, folder)
    if record is not None and record.done:
        print(f"{label}: done before, in {duration(record.seconds)}", flush=True)
        return record
    if check:
        stage.check()
    record = next_attempt(stage, record, settings)
    print(f"\n{label}: {stage.title} ({_elapsed(begin)})", flush=True)
    with kept(record, folder, label) as save:
        process.run_commands(record.commands, log_file(folder, stage.name), save, label)
        stage.collect(folder)
        check_outputs(stage, folder)
        record.finish(stage.sizes(folder))
    done = f"done in {duration(record.seconds)}, {in_words(record.sizes)}"
    print(f"{label}: {done} ({_elapsed(begin)})", flush=True)
    return record


def _elapsed(begin: float) -> str:
    return f"{duration(time.monotonic() - begin)} since the start"
