"""Files that appear under their name when they are complete, or not at all; JSON; checkpoints."""

from __future__ import annotations

import contextlib
import json
import os
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .errors import UserError

LAST_CHECKPOINT = "last_checkpoint"  # in OUTPUT_DIR, FastReID's name: names the newest


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str], shared: bool = False) -> Iterator[Path]:
    """Give a name beside ``path``; the file written there takes its place at the end.

    Folders are made as needed. After an exception the older file of that name is untouched. Where
    several processes may write it at the same time (``shared``), the name is this process's own.

    Raises:
        UserError: the file cannot be written: no permission, no space.
    """
    path = Path(path)
    with _beside(path, shared) as temporary:
        yield temporary
        os.replace(temporary, path)


@contextlib.contextmanager
def _beside(path: Path, shared: bool) -> Iterator[Path]:
    """Give a hidden name beside ``path``, and remove what is there at the end."""
    # One fixed name: what a killed run left behind is overwritten by the next, not collected.
    own = f".{platform.node()}.{os.getpid()}" if shared else ""
    temporary = path.with_name(f".{path.name}{own}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def cannot_write(path: Path, error: OSError) -> UserError:
    """The message of a file that the system does not let be written."""
    return UserError(
        f"cannot write {str(path)!r}: {error.strerror or error}; choose a folder where you may "
        "write, on a disk with free space"
    )


def write_json(path: str | os.PathLike[str], content: object) -> None:
    """Write a JSON file, which replaces an older one when it is complete."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def write_json_once(path: str | os.PathLike[str], content: object) -> None:
    """Write a JSON file unless it exists; of several processes that do so, the first one wins."""
    path = Path(path)
    if path.exists():
        return
    with _beside(path, shared=True) as temporary:
        temporary.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        try:
            with contextlib.suppress(FileExistsError):
                os.link(temporary, path)
        except OSError:  # a file system without hard links
            os.replace(temporary, path)


def read_json(path: str | os.PathLike[str]) -> Any:
    """Content of a JSON file.

    Raises:
        UserError: it cannot be read.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{str(path)!r} cannot be read: {error}; write it again") from error


def was_begun(folder: str | os.PathLike[str]) -> bool:
    """Whether a training in this OUTPUT_DIR has a checkpoint, which ``--resume`` continues."""
    return (Path(folder) / LAST_CHECKPOINT).exists()
