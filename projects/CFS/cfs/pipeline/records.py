"""Records of stages: ``OUTPUT_DIR/stages/<stage>.json``, which say what is done and how.

A record is written when a stage starts, while it runs, and when it is done. Later calls rely on it:
a stage whose record says "done" is skipped, one that was started is resumed.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import platform
import subprocess
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import timm
import torch
from fastreid_compat.repairs.config.settings import resolve_device
from reid_common.errors import UserError
from reid_common.files import replacing

from .stages import Stage
from .stages.settings import digests

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
        """Whether the stage is."""
        return self.status == DONE


def is_done(record: Record | None) -> bool:
    """Whether a stage with this record is skipped; None: it was never started."""
    return record is not None and record.done


def record_file(folder: Path, stage: str) -> Path:
    """Where the record of a stage is."""
    return folder / FOLDER / f"{stage}.json"


def read_record(folder: Path, stage: str) -> Record | None:
    """Read the record of a stage; None if it was never started.

    Raises:
        UserError: it cannot be read.
    """
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
    with replacing(record_file(folder, record.stage)) as temporary:
        temporary.write_text(json.dumps(dataclasses.asdict(record), indent=2) + "\n")


def next_attempt(stage: Stage, before: Record | None) -> Record:
    """Record of a stage that starts now, or is resumed; ``before`` is what was known of it."""
    record = before or Record(stage.name, stage.title, started=now())
    return dataclasses.replace(
        record,
        title=stage.title,
        status=STARTED,
        commands=stage.commands,
        settings={**stage.settings, **digests(stage.inputs)},
        outputs=stage.outputs,
        attempts=record.attempts + 1,
        machine=machine(stage),
        versions=versions(),
    )


def now() -> str:
    """The time, ISO 8601, UTC, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def machine(stage: Stage) -> str:
    """Where a stage works, for people."""
    device = "cpu" if stage.cfg is None else resolve_device(stage.cfg)
    if device.startswith("cuda"):
        return f"{stage.num_gpus} x {torch.cuda.get_device_name()}"
    return f"{device}, {torch.get_num_threads()} threads"


def versions() -> dict[str, str]:
    """Versions of what makes the results."""
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


def in_words(sizes: dict[str, int]) -> str:
    """Sizes as text: "4,096 images, 18 epochs"."""
    return ", ".join(f"{number:,} {what}" for what, number in sizes.items())
