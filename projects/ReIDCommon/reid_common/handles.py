"""Open files and data bases that belong to the process that reads them.

An open handle must not cross into another process: an LMDB environment that a forked worker gets
from its parent cannot be used, and keeps it from opening the data base again; a pickled descriptor
means another file, or none, in a spawned one. Sources of images therefore keep a :class:`Handles`,
which any process finds empty.
"""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

Key = TypeVar("Key")
Handle = TypeVar("Handle")

_ALL: weakref.WeakSet[Handles[Any, Any]] = weakref.WeakSet()


class Handles(Generic[Key, Handle]):
    """Handles by key, each opened when first asked for, in the process that asks.

    Several threads may use them. The one that was used longest ago is closed when there are too
    many, but none that is in use. A forked process closes its copies, a pickled one has none.

    Args:
        opener: opens the handle of a key; a function that can be pickled, as ``closer``.
        closer: closes a handle.
        limit: handles that stay open, as far as they are not in use.
    """

    def __init__(
        self, opener: Callable[[Key], Handle], closer: Callable[[Handle], Any], limit: int
    ) -> None:
        self._opener, self._closer, self._limit = opener, closer, limit
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.RLock()
        self._open: OrderedDict[Key, Handle] = OrderedDict()
        self._users: Counter[Key] = Counter()
        _ALL.add(self)

    def __len__(self) -> int:
        return len(self._open)

    @contextlib.contextmanager
    def use(self, key: Key) -> Iterator[Handle]:
        """Give the handle of ``key``, which stays open within the ``with`` statement."""
        with self._lock:
            if key not in self._open:
                self._open[key] = self._opener(key)
            self._open.move_to_end(key)
            handle = self._open[key]
            self._users[key] += 1
            self._shrink()
        try:
            yield handle
        finally:
            with self._lock:
                self._users[key] -= 1
                self._shrink()

    def _shrink(self) -> None:
        if len(self._open) > self._limit:
            idle = [key for key in self._open if not self._users[key]]
            for old in idle[: len(self._open) - self._limit]:
                self._drop(old)

    def forget(self, key: Key) -> None:
        """Close the handle of ``key`` if nobody uses it: what it is of may have been replaced."""
        with self._lock:
            if key in self._open and not self._users[key]:
                self._drop(key)

    def _drop(self, key: Key) -> None:
        del self._users[key]
        with contextlib.suppress(Exception):
            self._closer(self._open.pop(key))

    def close(self) -> None:
        """Close all handles; they open again when they are asked for."""
        for key in list(self._open):
            self._drop(key)

    def __reduce__(self) -> tuple[Any, ...]:
        return Handles, (self._opener, self._closer, self._limit)

    def __del__(self) -> None:
        if hasattr(self, "_open"):
            self.close()


def _in_forked_process() -> None:
    """Close the copies of the parent's handles; its threads, which may use them, are not here."""
    for handles in list(_ALL):
        handles.close()
        handles._begin()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_forked_process)
