"""Handles are opened by the process that reads, and never closed under a thread that uses them."""

from __future__ import annotations

import os
import pickle
import threading

import pytest
from reid_common.handles import Handles


def opened_by(key: str) -> list:
    return [key, os.getpid(), "open"]


def mark_closed(handle: list) -> None:
    handle[2] = "closed"


def handles(limit: int = 2) -> Handles[str, list]:
    return Handles(opened_by, mark_closed, limit)


def test_one_handle_a_key_and_the_oldest_idle_one_is_closed():
    store = handles()
    with store.use("a") as first, store.use("a") as again:
        assert first is again
        for key in "bcd":
            with store.use(key):
                pass
        assert first[2] == "open" and len(store) == 2
    with store.use("d"), store.use("e"), store.use("f"):
        assert first[2] == "closed" and len(store) == 3
    assert len(store) == 2
    store.forget("d")
    assert len(store) == 1


def test_a_forked_process_opens_its_own_even_if_a_thread_holds_the_lock():
    store = handles()
    holds, done = threading.Event(), threading.Event()

    def hold() -> None:
        with store._lock:
            holds.set()
            done.wait()

    with store.use("a") as mine:
        thread = threading.Thread(target=hold)
        thread.start()
        holds.wait()
        child = os.fork()
        if child == 0:
            with store.use("a") as own:
                os._exit(0 if own[1] == os.getpid() and mine[2] == "closed" else 1)
        done.set()
        thread.join()
        assert os.waitpid(child, 0)[1] == 0
        assert mine[2] == "open"


def test_a_pickled_copy_has_none():
    store = handles()
    with store.use("a"):
        copy = pickle.loads(pickle.dumps(store))
    assert len(store) == 1 and len(copy) == 0
    with copy.use("b") as handle:
        assert handle[0] == "b"


def test_what_cannot_be_opened_is_not_kept():
    store = Handles(lambda key: os.open(key, os.O_RDONLY), os.close, 2)
    for _ in range(2):
        with pytest.raises(FileNotFoundError), store.use("/no/file"):
            pass
    assert len(store) == 0
