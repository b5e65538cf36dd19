"""Batches from worker processes with as little shared memory as there is, and no waiting for ever.

torch hands batches over in files of /dev/shm, which is 64 MB in a container of Docker. Where it is
full, a thread of the worker fails out of sight, the batch is lost, and the loader waits for ever.
Here a worker makes room before it sends: what does not fit goes through a pipe, which is slower.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing.queues
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import torch
from reid_common.errors import UserError
from torch import Tensor
from torch.utils.data import _utils, get_worker_info

logger = logging.getLogger(__name__)

SHARED_MEMORY = "/dev/shm"
REMEDY = (
    "give it more (docker run --shm-size 8g, or --ipc host), or read images without workers: "
    "DATALOADER.NUM_WORKERS 0, --num-workers 0"
)
LOST_BATCH = 75  # exit status of a worker that could not send a batch
FULL = ("shared memory", "No space left on device", "Bus error", "out of memory resource")


def free_bytes() -> int | None:
    """Bytes that are free in /dev/shm; None where there is no such folder."""
    try:
        state = os.statvfs(SHARED_MEMORY)
    except OSError:
        return None
    return state.f_bavail * state.f_frsize


def is_full(error: BaseException) -> bool:
    """Whether an error says that there is no shared memory left, or none at all."""
    return any(words in str(error) for words in FULL)


def no_room(error: BaseException) -> UserError:
    """What to do about an error that is due to shared memory, or to the end of a worker."""
    free = free_bytes()
    state = f"{free / 2**20:.0f} MB free" if free is not None else "not there"
    reason = " ".join(str(error).split())[:300]
    return UserError(
        f"the workers that load images cannot hand them over ({reason}). Is their shared memory "
        f"too small? {SHARED_MEMORY} has {state}; {REMEDY}"
    )


class Sender:
    """A collate function whose batches arrive whatever /dev/shm has room for.

    Args:
        collate: makes a batch of samples.
    """

    def __init__(self, collate: Callable[[Any], Any]) -> None:
        self.collate = collate
        self._warned = False

    def __call__(self, samples: Any) -> Any:
        """A batch; in a worker, all its tensors are in shared memory already, or in no need."""
        if get_worker_info() is None:
            return self.collate(samples)
        try:
            batch = self.collate(samples)
        except RuntimeError as error:
            if not is_full(error):
                raise
            with _as_in_main_process():  # where default_collate asks for no shared memory
                batch = self.collate(samples)
        return self._ready(batch)

    def _ready(self, batch: Any) -> Any:
        if isinstance(batch, Tensor):
            return self._shared(batch)
        if type(batch) is dict:
            return {key: self._ready(value) for key, value in batch.items()}
        if type(batch) in (list, tuple):
            return type(batch)(self._ready(value) for value in batch)
        return batch

    def _shared(self, tensor: Tensor) -> Any:
        try:
            return tensor.share_memory_()
        except RuntimeError as error:
            if not is_full(error):
                raise
        if not self._warned:
            self._warned = True
            size = tensor.numel() * tensor.element_size() / 2**20
            text = "%s is full: batches (%.3g MB) go through a pipe, which is slower; %s"
            logger.warning(text, SHARED_MEMORY, size, REMEDY)
        return ThroughPipe(tensor)


class ThroughPipe:
    """A tensor on its way out of a worker: what arrives is a tensor again."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor

    def __reduce__(self) -> tuple[Any, ...]:
        tensor = self.tensor.detach().contiguous()
        content = bytearray(tensor.flatten().view(torch.uint8).numpy())
        return _tensor_of, (content, tensor.dtype, tuple(tensor.shape))


def _tensor_of(content: bytearray, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
    if not content:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(content, dtype=dtype).view(shape)


@contextlib.contextmanager
def _as_in_main_process() -> Iterator[None]:
    info = _utils.worker._worker_info
    _utils.worker._worker_info = None
    try:
        yield
    finally:
        _utils.worker._worker_info = info


class EndOnLostBatch:
    """A ``worker_init_fn``: a worker that cannot send a batch ends, which the main process sees.

    Args:
        init: another such function, which is called first.
    """

    def __init__(self, init: Callable[[int], Any] | None) -> None:
        self.init = init

    def __call__(self, worker: int) -> None:
        """Prepare this worker process."""
        queue: Any = multiprocessing.queues.Queue
        queue._on_queue_feeder_error = staticmethod(_end_worker)
        if self.init is not None:
            self.init(worker)


def _end_worker(error: Exception, batch: Any) -> NoReturn:
    traceback.print_exception(error)
    sys.stderr.flush()
    os._exit(LOST_BATCH)
