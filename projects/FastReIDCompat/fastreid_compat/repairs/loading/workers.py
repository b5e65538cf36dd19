"""Loaders with worker processes that end soon and quietly, and whose errors can be understood."""

from __future__ import annotations

import os
import time
from typing import Any

from reid_common.errors import UserError
from torch.utils.data import DataLoader, _utils
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from .shared_memory import LOST_BATCH, EndOnLostBatch, Sender, is_full, no_room

GRACE_SECONDS = 2.0  # that workers get to finish the batches they have begun, when closing


class Workers(_MultiProcessingDataLoaderIter):
    """torch's iterator over batches of worker processes, which it ends quietly and soon."""

    def __init__(self, loader: DataLoader) -> None:
        self._process = os.getpid()
        self._shutdown, self._workers = True, []  # for a beginning that fails half way
        try:
            super().__init__(loader)
        except (OSError, RuntimeError) as error:
            self._shutdown = True
            for worker in self._workers:
                worker.kill()
            if isinstance(error, OSError) or is_full(error):
                raise no_room(error) from error
            raise

    def _next_data(self) -> Any:
        try:
            return super()._next_data()
        except RuntimeError as error:
            lost = any(worker.exitcode == LOST_BATCH for worker in self._workers)
            if lost or is_full(error):
                raise no_room(error) from error
            raise

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


class WorkerLoader(DataLoader):
    """torch's DataLoader, whose workers go on where shared memory is small.

    Args:
        *args: of :class:`torch.utils.data.DataLoader`.
        **kwargs: likewise.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        DataLoader.__init__(self, *args, **kwargs)  # not that of FastReID's loader
        if self.num_workers > 0:
            self.collate_fn = Sender(self.collate_fn)
            self.worker_init_fn = EndOnLostBatch(self.worker_init_fn)

    def _get_iterator(self) -> Any:
        if self.num_workers == 0:
            return super()._get_iterator()
        self.check_worker_number_rationality()
        return Workers(self)


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
