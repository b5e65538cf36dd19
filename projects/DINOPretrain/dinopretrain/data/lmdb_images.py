"""Images in an LMDB, as LUPerson is released: a data base of files, and keys.pkl, the list of keys.

Each process that reads opens the data base itself, once (:mod:`reid_common.handles`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from reid_common.errors import UserError
from reid_common.handles import Handles

from .images import ListedImages, stamp_of
from .path_list import PathList
from .pickled_names import read_pickled_names


class LmdbImages(ListedImages):
    """Images in an LMDB, in the order of their keys' list.

    Args:
        path: the data base: a folder with data.mdb, or one file.
        keys_file: pickled list of keys; None asks the data base for all its keys.

    Raises:
        UserError: the data base cannot be opened, or has no keys.
    """

    def __init__(self, path: str, keys_file: str | None = None) -> None:
        self.path = os.path.abspath(path)
        self.base = os.path.realpath(path)  # LMDB knows links for what they are
        _ENVIRONMENTS.forget(self.base)
        with _ENVIRONMENTS.use(self.base):
            pass  # it can be opened
        names = read_pickled_names(keys_file) if keys_file else self._all_keys()
        super().__init__(PathList.from_iterable(names))
        if not len(self):
            raise UserError(f"there is no key in {keys_file or path!r}")

    def _all_keys(self) -> Iterator[bytes]:
        with _ENVIRONMENTS.use(self.base) as base, base.begin() as transaction:
            for key in transaction.cursor().iternext(keys=True, values=False):
                if not key.startswith(b"__"):  # "__len__" and the like
                    yield bytes(key)

    def name(self, index: int) -> str:
        """Key, behind the data base's path."""
        return f"{self.path}/{self.keys[index]}"

    def content(self, index: int) -> bytes:
        """The value of the image's key."""
        with _ENVIRONMENTS.use(self.base) as base, base.begin() as transaction:
            value = transaction.get(self.keys.raw(index))
        if value is None:
            raise OSError("the data base has no such key")
        return value

    def stamp(self, index: int) -> tuple[int, int]:
        """Bytes and time of change of the data base's file."""
        inside = os.path.join(self.path, "data.mdb")
        return stamp_of(inside if os.path.isdir(self.path) else self.path)


def _open_environment(path: str) -> Any:
    try:
        import lmdb
    except ImportError as error:
        raise UserError(f"{path!r} needs the package lmdb: pip install lmdb") from error
    try:
        # Readers of a file that nobody writes need no locks, and images are read in random order.
        options = {"readonly": True, "lock": False, "readahead": False, "meminit": False}
        return lmdb.open(path, subdir=os.path.isdir(path), **options)
    except lmdb.Error as error:
        raise UserError(f"{path!r} is no LMDB: {error}; copy it again") from error


def _close_environment(environment: Any) -> None:
    environment.close()


# One for all sources of a process: LMDB refuses to open a data base twice.
_ENVIRONMENTS: Handles[str, Any] = Handles(_open_environment, _close_environment, limit=16)
