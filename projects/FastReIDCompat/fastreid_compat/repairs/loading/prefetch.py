"""FastReID's prefetching loader, for machines with CUDA or without, that never hangs.

Workers of torch's loader keep batches ready; with CUDA the next batch is copied to the GPU on a
stream of its own while the model works, as in FastReID. Different from FastReID: there is no thread
between the two, which died silently of an exception in a sampler, a worker, an image or the
collator, while ``next`` waited for ever; ``next`` raises that exception.
"""

from __future__ import annotations

import math
import os
import time
import weakref
from typing import Any

import torch
from fastreid.data.data_utils import DataLoaderX as FastReIDLoader
from reid_common.errors import UserError
from torch.utils.data import DataLoader, _utils
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

MAX_PREFETCH = 10  # batches kept ready beside torch's two for each worker; FastReID's value
GRACE_SECONDS = 2.0  # that workers get to finish the batches they have begun, when closing


class Workers(_MultiProcessingDataLoaderIter):
    """torch's iterator over batches of worker processes, which it ends quietly and soon."""

    def __init__(self, loader: DataLoader) -> None:
        self._process = os.getpid()
        super().__init__(loader)

    def _shutdown_workers(self) -> None:
        if os.getpid() != self._process:
            return  # a copy that a forked worker of another loader collects
        if not (self._shutdown or _utils.python_exit_status):
            if self._worker_pids_set:
                # Else torch takes an end that is wanted for a crash, as a worker that is starting
                # or sending just now may end with a code of 1, and raises in whatever the main
                # thread is doing.
                _utils.signal_handling._remove_worker_pids(id(self))
                self._worker_pids_set = False
            # torch would wait 5 seconds for each one that hangs, one after the other.
            self._workers_done_event.set()
            for indices in self._index_queues:
                indices.put(None)
            deadline = time.monotonic() + GRACE_SECONDS
            for worker in self._workers:
                worker.join(max(0.0, deadline - time.monotonic()))
                if worker.is_alive():
                    worker.kill()
        super()._shutdown_workers()


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
        workers = kwargs.get("num_workers", 0)
        if workers > 0:
            kwargs.setdefault("prefetch_factor", 2 + math.ceil(MAX_PREFETCH / workers))
        DataLoader.__init__(self, **kwargs)
        self.local_rank = local_rank
        self.stream = torch.cuda.Stream(local_rank) if cuda else None
        self.iter: Any = None
        self.batch: Any = None
        self._error: BaseException | None = None
        self._finalizer: weakref.finalize[Any, Any] | None = None

    def _get_iterator(self) -> Any:
        if self.num_workers == 0:
            return super()._get_iterator()
        self.check_worker_number_rationality()
        return Workers(self)

    def __iter__(self) -> PrefetchLoader:
        self.shutdown()  # a former iteration that was left half way
        self.iter = DataLoader.__iter__(self)
        self._finalizer = weakref.finalize(self, end_workers, self.iter)
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
        """End the workers; a later ``iter`` starts afresh."""
        if self._finalizer is not None:
            self._finalizer()  # shuts down once
        self.iter = self.batch = self._error = None

    _shutdown_background_thread = shutdown  # FastReID's name


def end_workers(batches: Any) -> None:
    """End the worker processes of a torch loader's iterator, if it has any that should end."""
    if isinstance(batches, Workers) and not batches._persistent_workers:
        batches._shutdown_workers()


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
