"""Shuffled epochs without end, from any place in them at once."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from fastreid.data.samplers import TrainingSampler


class EpochSampler(TrainingSampler):
    """FastReID's TrainingSampler, each epoch's order of which depends on the seed and its number.

    FastReID draws one epoch after the other from one generator, so that a resumed run has to go
    through all that came before: of LUPerson's 100 epochs that takes minutes.
    """

    def __iter__(self) -> Iterator[int]:
        return self.starting_at(0)

    def starting_at(self, position: int) -> Iterator[int]:
        """Indices of this rank, without its first ``position``."""
        place = position * self._world_size + self._rank
        epoch, first = divmod(place, self._size)
        while True:
            order = self._order(epoch)[first :: self._world_size]
            yield from order.tolist()
            # The next of this rank's places beyond the epoch's end, counted from there.
            first += len(order) * self._world_size - self._size
            epoch += 1

    def _order(self, epoch: int) -> np.ndarray:
        if not self._shuffle:
            return np.arange(self._size)
        return np.random.default_rng((self._seed, epoch)).permutation(self._size)
