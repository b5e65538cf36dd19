"""FastReID's prefetching loader, for machines with CUDA or without, that never hangs.

A background thread takes batches from torch's loader and keeps a few of them in a queue; with CUDA
the next batch is copied to the GPU on a stream of its own while the model works, as in FastReID.
Different from FastReID: whatever goes wrong in a sampler, a worker, an image or the collator
reaches the caller of ``next`` as that exception, where FastReID's thread dies silently and ``next``
waits for ever; a loader without workers loads in the calling thread, because augmentation in a
second thread would draw from the same random numbers as the model's dropout, in no fixed order.
"""

from __future__ import annotations

import atexit
import queue
import threading
import time
import weakref
from collections.abc import Iterator
from typing import Any

import torch
import torch.utils.data._utils.signal_handling
from fastreid.data.data_utils import DataLoaderX as FastReIDLoader
from reid_common.errors import UserError
from torch.utils.data import DataLoader

MAX_PREFETCH = 10  # batches in the queue, FastReID's value
JOIN_SECONDS = 0.05  # how often a closing thread is looked at
GRACE_SECONDS = 2.0  # that workers get to finish the batches they have begun, when closing

_running: weakref.WeakSet[Prefetcher] = weakref.WeakSet()


class _End:
    """Last thing in the queue: the stream ended, with an exception or without."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


class Prefetcher(threading.Thread):
    """Runs an iterator in a background thread; takes the place of FastReID's BackgroundGenerator.

    Args:
        generator: iterator to run.
        local_rank: CUDA device of this process, not used without CUDA.
        max_prefetch: most items kept ready.
    """

    def __init__(
        self, generator: Iterator[Any], local_rank: int, max_prefetch: int = MAX_PREFETCH
    ) -> None:
        super().__init__(daemon=True, name="fastreid-prefetch")
        self.queue: queue.Queue[Any] = queue.Queue(max_prefetch)
        self.generator = generator
        self.local_rank = local_rank
        self.exit_event = threading.Event()
        self._end: _End | None = None
        unwatch_before_shutdown(generator)
        _running.add(self)
        self.start()

    def run(self) -> None:
        """Fill the queue until the iterator ends, fails, or :meth:`stop` is called."""
        end = _End()
        try:
            if torch.cuda.is_available():
                torch.cuda.set_device(self.local_rank)
            for item in self.generator:
                if self.exit_event.is_set():
                    break
                self.queue.put(item)
        except BaseException as error:
            end = _End(error)
        finally:
            try:
                shut_workers_down(self.generator)
            finally:
                self.queue.put(end)  # whatever happens: without it next would wait for ever

    def stop(self) -> None:
        """End the thread and the loader's workers; returns when they have ended."""
        self.exit_event.set()
        self._drain()  # here too: the thread itself may be what calls, in a garbage collection
        deadline = time.monotonic() + GRACE_SECONDS
        while self.is_alive() and threading.current_thread() is not self:
            self._drain()  # the thread may be waiting for room in the queue
            self.join(JOIN_SECONDS)
            if time.monotonic() > deadline:
                kill_workers(self.generator)
        self._end = self._end or _End()

    def _drain(self) -> None:
        while True:
            try:
                self.queue.get_nowait()
            except queue.Empty:
                return

    def next(self) -> Any:
        """Return the next item; raise StopIteration at the end, or what the iterator raised."""
        if self._end is None:
            item = self.queue.get()
            if not isinstance(item, _End):
                return item
            self._end = item
        if self._end.error is not None:
            raise self._end.error
        raise StopIteration

    def __next__(self) -> Any:
        return self.next()

    def __iter__(self) -> Prefetcher:
        return self


class PrefetchLoader(FastReIDLoader):
    """DataLoader that prefetches, and with CUDA copies ahead; takes the place of DataLoaderX.

    Args:
        local_rank: CUDA device that batches are copied to; without CUDA they stay on the CPU.
        **kwargs: of :class:`torch.utils.data.DataLoader`; ``pin_memory`` counts with CUDA only.
    """

    def __init__(self, local_rank: int, **kwargs: Any) -> None:
        cuda = torch.cuda.is_available()
        kwargs["pin_memory"] = kwargs.get("pin_memory", False) and cuda
        if kwargs.get("generator") is None:
            # Else torch draws a seed for the workers from the generator that the model draws from.
            kwargs["generator"] = torch.Generator().manual_seed(torch.initial_seed())
        DataLoader.__init__(self, **kwargs)
        self.local_rank = local_rank
        self.stream = torch.cuda.Stream(local_rank) if cuda else None
        self.iter: Any = None
        self.batch: Any = None
        self._error: BaseException | None = None
        self._finalizer: weakref.finalize[Any, Any] | None = None

    def __iter__(self) -> PrefetchLoader:
        self.shutdown()  # a former iteration that was left half way
        batches = DataLoader.__iter__(self)
        if self.num_workers > 0:
            self.iter = Prefetcher(batches, self.local_rank)
            self._finalizer = weakref.finalize(self, self.iter.stop)
            self._finalizer.atexit = False  # _stop_all is early enough, finalize may not be
        else:
            self.iter = batches
        self.preload()
        return self

    def preload(self) -> None:
        """Take the next batch and start its copy to the GPU; an exception waits for its turn."""
        self.batch = self._error = None
        try:
            self.batch = next(self.iter, None)
        except Exception as error:
            self._error = as_raised_in_worker(error)
        if self.batch is not None and self.stream is not None:
            with torch.cuda.stream(self.stream):
                for key, value in self.batch.items():
                    if isinstance(value, torch.Tensor):
                        self.batch[key] = value.to(self.local_rank, non_blocking=True)

    def __next__(self) -> Any:
        if self._error is not None:
            raise self._error
        batch = self.batch
        if batch is None:
            raise StopIteration
        if self.stream is not None:
            current = torch.cuda.current_stream()
            current.wait_stream(self.stream)
            for value in batch.values():
                if isinstance(value, torch.Tensor) and value.is_cuda:
                    # Else the copy of a later batch may overwrite this one while it is in use.
                    value.record_stream(current)
        self.preload()
        return batch

    def shutdown(self) -> None:
        """End the background thread and the workers; a later ``iter`` starts afresh."""
        if self._finalizer is not None:
            self._finalizer()  # calls stop, once
        self.iter = self.batch = self._error = None

    _shutdown_background_thread = shutdown  # FastReID's name


def shut_workers_down(batches: Any) -> None:
    """End the worker processes of a torch loader's iterator, if it has any that should end."""
    shutdown = getattr(batches, "_shutdown_workers", None)
    if shutdown is not None and not getattr(batches, "_persistent_workers", False):
        # One that was starting or sending just now may end with an exit code of 1.
        unwatch_workers(batches)
        shutdown()


def unwatch_before_shutdown(batches: Any) -> None:
    """Let torch's iterator do the same where it ends its workers itself, after the last batch."""
    shutdown = getattr(batches, "_shutdown_workers", None)
    if shutdown is None:
        return

    def unwatched() -> None:
        vars(batches).pop("_shutdown_workers", None)  # else it would hold itself
        unwatch_workers(batches)
        shutdown()

    batches._shutdown_workers = unwatched


def unwatch_workers(batches: Any) -> None:
    """Let torch look no more at how these workers end.

    It would take an end that is wanted for a crash and raise in whatever the main thread is doing.
    """
    if getattr(batches, "_worker_pids_set", False):
        torch.utils.data._utils.signal_handling._remove_worker_pids(id(batches))
        batches._worker_pids_set = False


def kill_workers(batches: Any) -> None:
    """Kill the worker processes of a torch loader's iterator, which makes its ``next`` raise."""
    unwatch_workers(batches)
    for worker in getattr(batches, "_workers", ()):
        worker.kill()


def as_raised_in_worker(error: Exception) -> Exception:
    """Give a UserError of a worker process its own message back.

    torch raises the exceptions of its workers anew in the main process, with the worker's whole
    traceback as the message; a user is to see the one sentence at the end of it.
    """
    text = str(error)
    if not isinstance(error, UserError) or not text.startswith("Caught "):
        return error
    message = text.rpartition(f"{type(error).__name__}: ")[2].strip()
    clean = type(error)(message)
    clean.__cause__ = error
    return clean


@atexit.register
def _stop_all() -> None:
    # A thread that waits for a worker while the interpreter takes itself down would hang it.
    for prefetcher in list(_running):
        prefetcher.stop()
