"""Run one stage of a pipeline, with a record that says what is done, how, and how long it took."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from fastreid_compat.repairs.config.settings import resolve_device
from reid_common.errors import UserError
from reid_core.run.reports import EVALUATION, write_json

from . import checks as pipeline_checks
from . import process as pipeline_process
from .records import DONE, FOLDER, STARTED, Record, now, read_record, write_record
from .settings import check_same_settings, digests
from .sizes import in_words, sizes_of
from .stages import TOOLS, Stage


def run_recorded(stage: Stage, folder: Path, what: str, begin: float) -> Record:
    """Run a stage that is not done, and keep its record."""
    record = read_record(folder, stage.name)
    settings = {**stage.settings, **digests(stage.inputs)}
    if record is not None:
        check_same_settings(record, settings, folder)
    if record is not None and record.done:
        pipeline_checks.check_outputs(stage, folder)
        print(f"{what}: done before, in {duration(record.seconds)}", flush=True)
        return record
    if record is None:
        pipeline_checks.check_unused(stage, folder)
        record = Record(stage.name, stage.title, started=now())
    record.title, record.commands, record.settings = stage.title, stage.commands, settings
    record.status, record.outputs = STARTED, stage.outputs
    record.attempts += 1
    record.machine, record.versions = machine(stage), versions()
    print(f"\n{what}: {stage.title} ({_elapsed(begin)})", flush=True)
    _run_commands(stage, folder, record, what)
    if stage.parts:
        write_json(folder / stage.outputs["results"], collected(stage, folder))
    pipeline_checks.check_outputs(stage, folder)
    record.sizes = sizes_of(stage, folder)
    record.status, record.finished = DONE, now()
    write_record(folder, record)
    print(
        f"{what}: done in {duration(record.seconds)}, {in_words(record.sizes)} ({_elapsed(begin)})",
        flush=True,
    )
    return record


def _run_commands(stage: Stage, folder: Path, record: Record, what: str) -> None:
    """Run the commands of a stage; its record says how long, also of one that is killed."""
    log = folder / FOLDER / f"{stage.name}.log"
    before, start = record.seconds, time.monotonic()

    def take_down() -> None:
        record.seconds = round(before + time.monotonic() - start, 1)
        write_record(folder, record)

    told = ""

    def tick() -> None:
        """Take down, but let a disk that fails for a moment not end what has run for days."""
        nonlocal told
        try:
            take_down()
            told = ""
        except UserError as error:
            if str(error) != told:
                print(f"warning: {what} goes on, but {error}", file=sys.stderr, flush=True)
            told = str(error)

    take_down()
    try:
        for command in stage.commands:
            status = pipeline_process.run_command(command, log, tick)
            if status:
                raise UserError(_failure(what, status, log, command))
    finally:
        take_down()


def _failure(what: str, status: int, log: Path, command: Sequence[str]) -> str:
    """What to say of a command that failed."""
    how = f"exit status {status}"
    if status < 0:
        how = f"killed by {signal.Signals(-status).name}"
    return (
        f"{what} failed: {how}. What it said is in {str(log)!r}; its command: "
        f"{shlex.join(command)}. Nothing that was done is lost: when the cause is removed, the "
        "same command of the pipeline goes on from here"
    )


def collected(stage: Stage, folder: Path) -> list[dict[str, Any]]:
    """The results of an evaluation's commands: one entry a model, data set and variant."""
    rows = []
    for part in stage.parts:
        for dataset, figures in read_json(folder / part["folder"] / EVALUATION).items():
            about = {key: part[key] for key in ("model", "title", "variant")}
            rows.append({**about, "dataset": dataset, **figures})
    return rows


def read_json(path: Path) -> Any:
    """Content of a JSON file."""
    return json.loads(path.read_text())


def machine(stage: Stage) -> str:
    """Where a stage works, for people."""
    device = "cpu" if stage.cfg is None else resolve_device(stage.cfg)
    if device.startswith("cuda"):
        return f"{stage.num_gpus} x {torch.cuda.get_device_name()}"
    return f"{device}, {torch.get_num_threads()} threads"


def versions() -> dict[str, str]:
    """Versions of what makes the results."""
    line = ["git", "-C", str(TOOLS), "rev-parse", "HEAD"]
    try:
        commit = subprocess.run(line, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        commit = ""  # no checkout
    return {
        "torch": torch.__version__,
        "timm": timm.__version__,
        "fastreid": importlib.metadata.version("fastreid"),
        "python": platform.python_version(),
        "commit": commit,
    }


def duration(seconds: float) -> str:
    """Seconds as people say it."""
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} seconds"


def _elapsed(begin: float) -> str:
    return f"{duration(time.monotonic() - begin)} since the start"
