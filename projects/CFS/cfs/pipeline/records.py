"""Records of stages: ``OUTPUT_DIR/stages/<stage>.json``, which say what is done and how.

A record is written when a stage starts, while it runs, and when it is done. Later calls rely on it:
a stage whose record says "done" is skipped, one that was started is resumed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from reid_common.errors import UserError
from reid_common.files import write_json

from .stages.stage import Stage

FOLDER = "stages"
STARTED, DONE = "started", "done"


@dataclass
class Record:
    """What is known of one stage.

    Attributes:
        stage: its name.
        title: what it is, for people.
        status: "started" or "done".
        commands: argument lists, as they were run last.
        settings: what its result depends on, flat, as JSON can hold it.
        seconds: wall time of all attempts.
        attempts: how often it was started or resumed.
        started: time of the first attempt, ISO 8601, UTC.
        finished: when it was done.
        sizes: what was worked on: images, identities, epochs, iterations, ...
        outputs: what it made, paths relative to OUTPUT_DIR.
        machine: device and threads, for people.
        versions: of torch, timm, fastreid, python, and the commit.
    """

    stage: str
    title: str
    status: str = STARTED
    commands: list[list[str]] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    attempts: int = 0
    started: str = ""
    finished: str | None = None
    sizes: dict[str, int] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)
    machine: str = ""
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def done(self) -> bool:
        """Whether the stage is, so that it is skipped."""
        return self.status == DONE

    @property
    def files(self) -> str:
        """What to delete in OUTPUT_DIR to run the stage again, for messages."""
        return ", ".join([f"{FOLDER}/{self.stage}.json", *folders_of(self.outputs)])


def folders_of(outputs: Mapping[str, str]) -> list[str]:
    """Folders of outputs (what -> path relative to OUTPUT_DIR), as messages name them."""
    return sorted({path.partition("/")[0] + "/" for path in outputs.values()})


def record_file(folder: Path, stage: str) -> Path:
    """Where the record of a stage is."""
    return folder / FOLDER / f"{stage}.json"


def read_record(folder: Path, stage: str) -> Record | None:
    """Read the record of a stage; None if it was never started; UserError if it cannot be read."""
    path = record_file(folder, stage)
    try:
        content = json.loads(path.read_text())
        known = {f.name for f in dataclasses.fields(Record)}
        return Record(**{key: value for key, value in content.items() if key in known})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise UserError(
            f"{str(path)!r} is no record of a stage ({error}); delete it together with what the "
            "stage has made, and the stage is run again"
        ) from error


def write_record(folder: Path, record: Record) -> None:
    """Write a record, all or not at all."""
    write_json(record_file(folder, record.stage), dataclasses.asdict(record))


@contextlib.contextmanager
def attempt(
    stage: Stage, record: Record | None, settings: dict[str, Any], label: str
) -> Iterator[tuple[Record, Callable[[], None]]]:
    """Write the record of a stage that starts, or is resumed, before and after a block.

    Args:
        record: what is known of it; None: it was never started.
        settings: what its result depends on now.
        label: what warnings call it.

    Yields:
        The record, and a function to be called now and then, which writes how long the block has
        taken so far; a disk that fails for a moment only gives a warning then.

    Raises:
        UserError: the record cannot be written before or after.
    """
    record = record or Record(stage.name, stage.title, started=now())
    record.title, record.commands, record.settings = stage.title, stage.commands, settings
    record.status, record.outputs = STARTED, stage.outputs
    record.attempts += 1
    record.machine, record.versions = stage.machine(), versions()
    before, start = record.seconds, time.monotonic()
    warned = ""

    def write() -> None:
        record.seconds = round(before + time.monotonic() - start, 1)
        write_record(stage.folder, record)

    def write_or_warn() -> None:
        nonlocal warned
        try:
            write()
            warned = ""
        except UserError as error:
            if str(error) != warned:
                print(f"warning: {label} continues, but {error}", file=sys.stderr, flush=True)
            warned = str(error)

    write()
    try:
        yield record, write_or_warn
    finally:
        write()


def now() -> str:
    """The time, ISO 8601, UTC, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def versions() -> dict[str, str]:
    """Versions of what makes the results."""
    import timm  # late: seconds

    line = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
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


def in_words(sizes: Mapping[str, int]) -> str:
    """Sizes as text: "4,096 images, 18 epochs"."""
    return ", ".join(f"{number:,} {what}" for what, number in sizes.items())
