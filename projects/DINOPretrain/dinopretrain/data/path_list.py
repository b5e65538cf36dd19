"""Millions of names in two arrays that all workers of a loader share.

A Python list of 4.2 million names takes 0.5 GB, and every worker that is forked copies it bit by
bit, because looking at a Python object changes its reference count. One buffer of bytes and one of
offsets takes a fraction of it and is never written: forked workers share its pages, spawned ones
get it in shared memory, where torch puts tensors that are sent to another process.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

BLOCK = 65536  # names handled at a time


class PathList:
    """An immutable sequence of names.

    Args:
        data: all names, one after the other, in UTF-8 (bytes that are none as Python's file names,
            by surrogate escapes); (bytes,) uint8.
        offsets: where each begins, and the end of the last; (N + 1,) int64.
    """

    def __init__(self, data: Tensor, offsets: Tensor) -> None:
        self.data, self.offsets = data, offsets

    @classmethod
    def from_iterable(cls, names: Iterable[str | bytes]) -> PathList:
        """Take up names as they come; memory is what the result needs."""
        data, lengths = bytearray(), []
        stream = iter(names)
        while block := list(itertools.islice(stream, BLOCK)):
            encoded = [
                name if isinstance(name, bytes) else name.encode("utf-8", "surrogateescape")
                for name in block
            ]
            data += b"".join(encoded)
            lengths.append(np.fromiter(map(len, encoded), np.int64, len(encoded)))
        offsets = np.zeros(1 + sum(map(len, lengths)), np.int64)
        if lengths:
            np.cumsum(np.concatenate(lengths), out=offsets[1:])
        # The tensor shares the memory of the bytearray and keeps it alive.
        buffer = torch.frombuffer(data, dtype=torch.uint8) if data else torch.empty(0).byte()
        return cls(buffer, torch.from_numpy(offsets))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> str:
        return self.raw(index).decode("utf-8", "surrogateescape")

    def raw(self, index: int) -> bytes:
        """Name number ``index`` as bytes; raises IndexError out of 0..N-1, negative ones too."""
        if not 0 <= index < len(self):
            raise IndexError(f"index {index} is not in 0..{len(self) - 1}")
        start, stop = self.offsets[index : index + 2].tolist()
        return self.data[start:stop].numpy().tobytes()

    def iter_raw(self) -> Iterator[bytes]:
        """All names as bytes, in order."""
        for first in range(0, len(self), BLOCK):
            offsets = self.offsets[first : first + BLOCK + 1]
            block = self.data[offsets[0] : offsets[-1]].numpy().tobytes()
            for start, stop in itertools.pairwise((offsets - offsets[0]).tolist()):
                yield block[start:stop]

    def __iter__(self) -> Iterator[str]:
        return (name.decode("utf-8", "surrogateescape") for name in self.iter_raw())

    def take(self, indices: np.ndarray) -> PathList:
        """The names of these indices, (K,) int64, each in 0..N-1, in their order."""
        data, offsets = self.data.numpy().data, self.offsets.numpy().data
        return PathList.from_iterable(bytes(data[offsets[i] : offsets[i + 1]]) for i in indices)

    def equals(self, other: PathList) -> bool:
        """Whether these are the same names in the same order."""
        return torch.equal(self.offsets, other.offsets) and torch.equal(self.data, other.data)

    @property
    def nbytes(self) -> int:
        """Memory of both arrays."""
        return self.data.nbytes + self.offsets.nbytes

    def find(self, names: PathList) -> np.ndarray:
        """Look names up by hashes, so that no dictionary of millions is built.

        Returns:
            (len(names),) int64: index in this list of each name, -1 for none. Of names that are
            there twice, the first.
        """
        here = np.fromiter(map(hash, self.iter_raw()), np.int64, len(self))
        order = np.argsort(here, kind="stable")
        here = here[order]
        wanted = np.fromiter(map(hash, names.iter_raw()), np.int64, len(names))
        at = np.searchsorted(here, wanted)
        found = np.full(len(names), -1, np.int64)
        # Elements of a memoryview are had ten times faster than those of an array or a tensor.
        hashes, targets, indices = here.data, wanted.data, order.data
        data, offsets = self.data.numpy().data, self.offsets.numpy().data
        for i, (name, place) in enumerate(zip(names.iter_raw(), at.data, strict=True)):
            # More than one step where two names have one hash, or a name is there twice.
            while place < len(here) and hashes[place] == targets[i]:
                index = indices[place]
                if data[offsets[index] : offsets[index + 1]] == name:
                    found[i] = index
                    break
                place += 1
        return found
