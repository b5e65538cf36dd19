"""Read a pickled list of names (CFS_list.pkl, keys.pkl) from whoever it comes.

A pickle is a program, and Python's unpickler runs it: a file from a stranger can do anything. Here
the unpickler finds no class and no function, so that there is nothing that it could call, and what
comes out must be one list of str or bytes. 4.2 million names take a second.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from typing import IO, Any

from reid_common.errors import UserError

MAX_NAME = 65_535  # bytes; the longest path that Linux knows has 4,096


def read_pickled_names(path: str) -> Iterator[bytes]:
    """Yield the names, in UTF-8, of a file of any pickle protocol: one list of str or bytes.

    Raises:
        UserError: it holds anything else, or is cut off.
    """
    with open(path, "rb") as file:
        try:
            names = _NothingToCall(file, path).load()
        except UserError:
            raise
        except Exception as error:  # of a damaged file the unpickler raises anything
            raise UserError(
                f"{path!r} is cut off or damaged ({type(error).__name__}: {error}); copy or "
                "download it again"
            ) from error
    if not isinstance(names, list):
        raise _refused(path, f"{_kind(names)}, not a list")
    for name in names:
        if isinstance(name, str):
            try:
                name = name.encode("utf-8", "surrogateescape")
            except UnicodeEncodeError as error:
                raise _refused(path, f"the name {name!r}, which is no text") from error
        if not isinstance(name, bytes):
            raise _refused(path, f"{_kind(name)} in the list")
        if len(name) > MAX_NAME:
            raise _refused(path, f"a name of {len(name)} bytes")
        yield name


def _kind(value: Any) -> str:
    name = type(value).__name__
    return f"an {name}" if name[0] in "aeiou" else f"a {name}"


class _NothingToCall(pickle.Unpickler):
    """Makes str, bytes, numbers and containers of them, and refuses everything else."""

    def __init__(self, file: IO[bytes], path: str) -> None:
        # Python 2's str are bytes; they become text here and the same bytes in the end.
        super().__init__(file, encoding="utf-8", errors="surrogateescape")
        self.path = path

    def find_class(self, module: str, name: str) -> Any:
        raise _refused(self.path, f"a reference to {module}.{name}")


def _refused(path: str, what: str) -> UserError:
    return UserError(
        f"{path!r} is no pickled list of names: it holds {what}. Only lists of str or bytes are "
        "read, since any other pickle could run code; write the names to a text file, one a line"
    )
