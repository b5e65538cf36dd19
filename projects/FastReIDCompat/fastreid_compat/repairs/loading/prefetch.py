"""FastReID's prefetching loader, for machines with CUDA or without, that never hangs.

Workers of torch's loader keep batches ready; with CUDA the next batch is copied to the GPU on a
stream of its own while the model works, as in FastReID. Different from FastReID: there is no thread
between the two, which died silently of an exception in a sampler, a worker, an image or the
collator, while ``next`` waited for ever; ``next`` raises that exception.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable
from typing import Any

import torch
from fastreid.data.data_utils import DataLoaderX as FastReIDLoader
from torch.utils.data import DataLoader

from .workers import WorkerLoader, as_raised_in_worker, end_workers

# (batch on the host, device) -> batch, of which anything may be on the device already.
Finish = Callable[[dict[str, Any], torch.device], dict[str, Any]]

MAX_PREFETCH = 10  # batches kept ready beside torch's two for each worker; FastReID's value


def finish_of(dataset: Any) -> Finish | None:
    """What a data set's transform leaves to the device: its method ``finish``, if it has one."""
    return getattr(getattr(dataset, "transform", None), "finish", None)


class PrefetchLoader(WorkerLoader, FastReIDLoader):
    """DataLoader that prefetches, and with CUDA copies ahead; takes the place of DataLoaderX.

    Args:
        local_rank: CUDA device that batches are copied to; without CUDA they stay on the CPU.
        finish: called with each batch before it is copied, on the stream of the copy.
        **kwargs: of :class:`torch.utils.data.DataLoader`; ``pin_memory`` counts with CUDA only.
    """

    def __init__(self, local_rank: int, *, finish: Finish | None = None, **kwargs: Any) -> None:
        cuda = torch.cuda.is_available()
        self.finish = finish
        kwargs["pin_memory"] = kwargs.get("pin_memory", False) and cuda
        if kwargs.get("generator") is None:
            # Else torch draws a seed for the workers from the generator that the model draws from.
            kwargs["generator"] = torch.Generator().manual_seed(torch.initial_seed())
        workers = kwargs.get("num_workers", 0)
        if workers > 0:
            kwargs.setdefault("prefetch_factor", 2 + math.ceil(MAX_PREFETCH / workers))
        WorkerLoader.__init__(self, **kwargs)
        self.local_rank = local_rank
        self.stream = torch.cuda.Stream(local_rank) if cuda else None
        self.iter: Any = None
        self.batch: Any = None
        self._error: BaseException | None = None
        self._finalizer: weakref.finalize[Any, Any] | None = None

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
        if self.batch is None:
            return
        if self.stream is None:
            self._finish(torch.device("cpu"))
        else:
            with torch.cuda.stream(self.stream):
                self._finish(torch.device("cuda", self.local_rank))
                for key, value in self.batch.items():
                    if isinstance(value, torch.Tensor):
                        self.batch[key] = value.to(self.local_rank, non_blocking=True)

    def _finish(self, device: torch.device) -> None:
        if self.finish is not None:
            self.batch = self.finish(self.batch, device)

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
