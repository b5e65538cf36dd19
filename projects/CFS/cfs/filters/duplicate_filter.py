"""A filter of near-duplicates: of pictures that look the same the first one stays.

All pairs of millions of hashes cannot be compared. Equal hashes are found by sorting. Of the rest,
two of distance d agree, in one of three bands of 21 bits, up to d // 3 bits: an index of each band
(faiss) is asked for these few patterns. It holds the images that are kept only, so that a thousand
copies of one picture do not make it slow.
"""

from __future__ import annotations

import faiss
import numpy as np
from reid_common.errors import UserError

from .base import DataFilter, Drop, Items
from .measurements import PerceptualHash
from .registry import FILTER_REGISTRY

BANDS, BAND_BITS = 3, 21
GREATEST_DISTANCE = 8  # more need thousands of patterns a look-up, and mean little in 64 bits
CHUNK = 512


@FILTER_REGISTRY.register()
class DuplicateFilter(DataFilter):
    """Keeps of images with similar hashes the first in the order of the training set.

    Args:
        max_distance: bits of 64 that may differ, 0..8. 0: only what has the same hash.
    """

    measurement = PerceptualHash()

    def __init__(self, max_distance: int = 4) -> None:
        if type(max_distance) is not int or not 0 <= max_distance <= GREATEST_DISTANCE:
            raise UserError(
                f"MAX_DISTANCE is {max_distance!r}; write a number of bits, 0 to "
                f"{GREATEST_DISTANCE}, as in 4"
            )
        self.max_distance = max_distance

    def prepare(self, items: Items) -> None:
        """Find of each image the one that stays for it."""
        assert items.values is not None
        self.hashes = items.values[:, 0]
        self.originals = first_of_similar(self.hashes, self.max_distance)

    def judge(self, items: Items, row: int) -> Drop | None:
        """Drop what resembles an image before it."""
        original = int(self.originals[row])
        if original == row:
            return None
        distance = (int(self.hashes[row]) ^ int(self.hashes[original])).bit_count()
        return Drop(
            f"duplicate (up to {self.max_distance} of 64 bits differ)",
            f"of {items.name(original)}, distance {distance}",
        )


def first_of_similar(hashes: np.ndarray, max_distance: int) -> np.ndarray:
    """Find the near-duplicates of hashes (N,) uint64 up to a Hamming distance of 0..8.

    Returns:
        (N,) int64: index of the kept hash that each is a duplicate of: the nearest of those before
        it, of equally near ones the first; what was said of an equal hash before; its own index
        for one that is kept.
    """
    distinct, first, place = np.unique(hashes, return_index=True, return_inverse=True)
    order = np.argsort(first)  # distinct hashes in the order in which they first come
    kept_by = np.arange(len(order))
    if max_distance:
        kept_by = _first_of_distinct(distinct[order], max_distance)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return first[order][kept_by[rank[place.reshape(-1)]]].astype(np.int64)


def _first_of_distinct(hashes: np.ndarray, max_distance: int) -> np.ndarray:
    """As :func:`first_of_similar`, of hashes none of which is there twice."""
    index = faiss.IndexBinaryMultiHash(64, BANDS, BAND_BITS)
    index.nflip = max_distance // BANDS
    result = np.arange(len(hashes))
    kept = np.zeros(len(hashes), np.int64)  # what the index holds, in its first places
    for start in range(0, len(hashes), CHUNK):
        block = np.ascontiguousarray(hashes[start : start + CHUNK])
        codes = block.view(np.uint8).reshape(-1, 8)
        limits, distances, found = index.range_search(codes, max_distance + 1)  # "below" that
        within = _near_before(codes, max_distance)
        own = np.ones(len(block), bool)  # of this block, kept
        for row in sorted({*np.flatnonzero(np.diff(limits)).tolist(), *within}):
            near = slice(int(limits[row]), int(limits[row + 1]))
            earlier = kept[found[near]].tolist()
            candidates = list(zip(distances[near].tolist(), earlier, strict=True))
            candidates += [(d, start + other) for d, other in within.get(row, ()) if own[other]]
            if candidates:
                result[start + row] = min(candidates)[1]
                own[row] = False
        index.add(np.ascontiguousarray(codes[own]))
        kept[index.ntotal - own.sum() : index.ntotal] = start + np.flatnonzero(own)
    return result


def _near_before(codes: np.ndarray, max_distance: int) -> dict[int, list[tuple[int, int]]]:
    """For the codes (n, 8) uint8 that have any: distance and row of those near and before them."""
    signs = np.unpackbits(codes, axis=1).astype(np.float32) * 2 - 1
    products = signs @ signs.T  # 64 less twice the distance
    near: dict[int, list[tuple[int, int]]] = {}
    for row, other in zip(*np.nonzero(products >= 64 - 2 * max_distance), strict=True):
        if other < row:
            distance = int(64 - products[row, other]) // 2
            near.setdefault(int(row), []).append((distance, int(other)))
    return near
