"""Records of stages: ``OUTPUT_DIR/stages/<stage>.json``, which say what is done and how.

A record is written when a stage begins, while it runs, and when it is done. It is what a later call
goes by: a stage whose record says "done" is skipped, one that was begun is gone on with.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from reid_common.errors import UserError
from reid_common.files import replacing

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
        attempts: how often it was begun or gone on with.
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


def now() -> str:
    """The time, ISO 8601, UTC, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def record_file(folder: Path, stage: str) -> Path:
    """Where the record of a stage is."""
    return folder / FOLDER / f"{stage}.json"


def read_record(folder: Path, stage: str) -> Record | None:
    """Read the record of a stage; None if it was never begun.

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
