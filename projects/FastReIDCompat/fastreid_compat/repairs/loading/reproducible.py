"""One seed fixes sampling and augmentation, and a resumed run sees the batches it would have seen.

Sampling: each of FastReID's samplers draws from a generator of its own instead of numpy's global
one, which every other thread draws from as well. Augmentation: the draws for a sample depend on
nothing but (seed, rank, position of the sample in this rank's stream), whatever the number of
workers; the index that the batch sampler hands out carries them to the data set. So a run can start
anywhere in its stream: :func:`restart_at` is what a trainer calls when it resumes.

Not covered: INPUT.RPT (RandomPatch) pastes patches of the images that its worker has seen before.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
import random
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from fastreid.data.samplers import data_sampler, imbalance_sampler, triplet_sampler
from torch.utils.data import BatchSampler, Sampler, get_worker_info

from ...registry import Original, fix, replaces, source_has

logger = logging.getLogger(__name__)

_drawing = threading.local()


class _Random:
    """``np.random`` as a sampler sees it: its own generator while it draws, else the global one."""

    def __getattr__(self, name: str) -> Any:
        return getattr(getattr(_drawing, "source", None) or np.random, name)


class _Numpy:
    """``np`` as a sampler sees it."""

    random = _Random()

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)


def _from_own_source(
    infinite_indices: Callable[[Any], Iterator[int]],
) -> Callable[[Any], Iterator[int]]:
    @functools.wraps(infinite_indices)
    def indices(self: Any) -> Iterator[int]:
        source = np.random.RandomState()  # which the sampler seeds, as it would seed the global one
        stream = infinite_indices(self)
        while True:
            outer = getattr(_drawing, "source", None)
            _drawing.source = source
            try:
                index = next(stream)
            except StopIteration:
                return
            finally:
                _drawing.source = outer
            yield index

    return indices


@fix(
    where="data/samplers/data_sampler.py:50, triplet_sampler.py:77,178,235",
    symptom="batches cannot be repeated: samplers seed and draw from numpy's global generator in"
    " the prefetch thread, together with the rest of the program",
)
def private_sampling() -> bool:
    """Give each iteration of a sampler its own generator; for a seed the order is FastReID's."""
    changed = False
    for module in (data_sampler, triplet_sampler):
        for sampler in list(vars(module).values()):
            function = getattr(sampler, "_infinite_indices", None)
            if function and source_has(function, "np.random.seed(self._seed)"):
                sampler._infinite_indices = _from_own_source(function)
                module.np = _Numpy()
                changed = True
    return changed


@fix(
    where="data/samplers/imbalance_sampler.py:64",
    symptom="ImbalancedDatasetSampler ignores its seed: ranks draw from different streams",
)
@replaces(
    imbalance_sampler.ImbalancedDatasetSampler,
    "_infinite_indices",
    "torch.multinomial(self.weights, self._size, repl",
)
def seeded_multinomial(_: Original, self: Any) -> Iterator[int]:
    """Draw with torch from the sampler's seed; FastReID seeds numpy and draws with torch."""
    generator = torch.Generator().manual_seed(self._seed)
    while True:
        chosen = torch.multinomial(self.weights, self._size, True, generator=generator)
        yield from (self.indices[index] for index in chosen.tolist())


class SeededIndex(int):
    """Index of an item that carries what the random draws for this sample start from.

    Attributes:
        entropy: (seed, rank, position in the rank's stream).
    """

    entropy: tuple[int, int, int]

    @classmethod
    def of(cls, index: int, seed: int, rank: int, position: int) -> SeededIndex:
        """Build the index ``index`` for a sample at ``position`` of the stream of ``rank``."""
        seeded = cls(index)
        seeded.entropy = (seed, rank, position)
        return seeded


@contextlib.contextmanager
def draws_of(index: int) -> Iterator[None]:
    """Within the block, random, numpy and torch draw what belongs to ``index``.

    For a data set's ``__getitem__``. Nothing happens for a plain int. In the main process the
    former states come back afterwards, for the model's sake; a worker has no other use for them.
    """
    entropy = getattr(index, "entropy", None)
    if entropy is None:
        yield
        return
    before = None
    if get_worker_info() is None:
        before = (random.getstate(), np.random.get_state(), torch.get_rng_state())
    seeds = np.random.SeedSequence(entropy).generate_state(3).tolist()
    random.seed(seeds[0])
    np.random.seed(seeds[1])
    torch.default_generator.manual_seed(seeds[2])  # torch.manual_seed would seed the GPUs as well
    try:
        yield
    finally:
        if before is not None:
            random.setstate(before[0])
            np.random.set_state(before[1])
            torch.set_rng_state(before[2])


class SeededBatchSampler(BatchSampler):
    """Batches of :class:`SeededIndex`, from any batch of the stream on.

    Args:
        sampler: yields indices; FastReID's training samplers never end. One that has a method
            ``starting_at(position)`` is asked to begin there, others are run up to there.
        batch_size: samples in a batch of this rank.
        drop_last: leave a smaller last batch out.
        seed: what the augmentation of all samples starts from; the same on all ranks.
        rank: of this process.
    """

    def __init__(
        self, sampler: Sampler[int], batch_size: int, drop_last: bool, seed: int, rank: int
    ) -> None:
        super().__init__(sampler, batch_size, drop_last)
        self.seed = seed
        self.rank = rank
        self.first_batch = 0

    def __iter__(self) -> Iterator[list[int]]:
        first = self.first_batch * self.batch_size
        jump = getattr(self.sampler, "starting_at", None)
        stream = jump(first) if jump else itertools.islice(self.sampler, first, None)
        indices: Iterator[int] = (
            SeededIndex.of(int(i), self.seed, self.rank, at)
            for at, i in enumerate(stream, start=first)
        )
        while batch := list(itertools.islice(indices, self.batch_size)):
            if len(batch) == self.batch_size or not self.drop_last:
                yield batch


def skip_batches(loader: Any, num_batches: int) -> bool:
    """Let the next ``iter(loader)`` start ``num_batches`` into the stream, without loading these.

    Returns:
        Whether the loader can do that: it needs a :class:`SeededBatchSampler`.
    """
    batch_sampler = getattr(loader, "batch_sampler", None)
    if not isinstance(batch_sampler, SeededBatchSampler):
        return False
    batch_sampler.first_batch = num_batches
    return True


def restart_at(trainer: Any, num_batches: int) -> None:
    """Let a trainer continue its training data behind the first ``num_batches`` batches.

    What an uninterrupted run would see in iteration ``num_batches`` comes next. A loader that
    cannot do so, one of the user's own, starts from its beginning, with a warning.

    Args:
        trainer: DefaultTrainer, SimpleTrainer or AMPTrainer.
        num_batches: iterations already done, over all epochs.
    """
    inner = getattr(trainer, "_trainer", trainer)
    loader = inner.data_loader
    if not skip_batches(loader, num_batches):
        logger.warning(
            "%s cannot start in the middle: the training data begin anew", type(loader).__name__
        )
        return
    # Iterating anew ends the thread and workers of the iteration that the trainer began when built.
    inner._data_loader_iter = iter(loader)
