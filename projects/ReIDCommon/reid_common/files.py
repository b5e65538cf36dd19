"""Files that appear under their name when they are complete, or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from .errors import UserError


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a name beside ``path``; the file written there takes its place at the end.

    Folders are made as needed. After an exception the older file of that name is untouched.

    Raises:
        UserError: the file cannot be written: no permission, no space.
    """
    path = Path(path)
    # One fixed name: what a killed run left behind is overwritten by the next, not collected.
    temporary = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
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
