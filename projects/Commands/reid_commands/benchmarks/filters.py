"""Data filters at LUPerson's size: seconds and memory; images/s of those that look at pixels.

python tools/benchmarks/filters.py --names 4200000

Names, scores and hashes are synthetic. Each case runs in a process of its own; The peak
is the highest RSS while it filtered less the RSS before, the listing itself being open. Pixels are
those of ToyUnlabeled's renderings, or of another data set. The first of each table is the baseline.
"""

from __future__ import annotations

import argparse
import functools
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from cfs.filters.chain import run_filters
from cfs.filters.duplicate_filter import first_of_similar
from dinopretrain.data.images import FileImages
from dinopretrain.data.path_list import PathList
from reid_core.data.opening import open_dataset

from .harness import PEAK, WALL, Row, Sample, alternate, benchmark, timed
from .processes import HIGHEST, RSS, in_child, in_children, memory
from .synthetic import names, write_listing

BY_NAME = ("text", "pickle", "parquet", "scores", "hashes")
BY_PIXELS = {
    "ResolutionFilter": {"MIN_HEIGHT": 1},
    "BlurFilter": {"MIN": 0},
    "DuplicateFilter": {"MAX_DISTANCE": 4},
}
NOISY, FLIPS = 0.1, 3  # share of hashes that are near another, and by how many bits at most


def synthetic_hashes(count: int) -> np.ndarray:
    """Random hashes, a tenth of which are an earlier one with up to three bits flipped."""
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**64, count, dtype=np.uint64)
    near = np.flatnonzero(rng.random(count) < NOISY)
    hashes[near] = hashes[rng.integers(0, np.maximum(near, 1))]
    for _ in range(FLIPS):
        hashes[near] ^= np.uint64(1) << rng.integers(0, 64, len(near), dtype=np.uint64)
    return hashes


def measure(kind: str, args: argparse.Namespace) -> Sample:
    """Time one filter, or the search of duplicates; in a fresh process."""
    count = args.names
    work: Callable[[], object]
    with tempfile.TemporaryDirectory() as folder:
        if kind == "hashes":
            work = functools.partial(first_of_similar, synthetic_hashes(count), 4)
        else:
            if kind in BY_PIXELS:
                images, entry = open_dataset(args.dataset).images, {"NAME": kind, **BY_PIXELS[kind]}
            else:
                written = in_child(write_listing, Path(folder) / "list", kind, count)
                images = FileImages(PathList.from_iterable(names(count)), folder)
                entry = {"NAME": "CFSFilter", "SCORES": str(written), "KEEP": 0.5}
            count = len(images)
            work = functools.partial(run_filters, [entry], images, folder, folder)
        before = memory(RSS)
        sample = timed(work)()
    return {**sample, PEAK: memory(HIGHEST) - before, "images/s": count / sample[WALL]}


def rows(args: argparse.Namespace) -> Iterator[Row]:
    """Filters by names, then those that look at pixels."""
    for group in (BY_NAME, BY_PIXELS):
        cases = {kind: (kind, args) for kind in args.kinds if kind in group}
        if cases:
            yield from alternate(in_children(measure, cases)).rows()


KINDS = dict.fromkeys([*BY_NAME, *BY_PIXELS])
main, parser = benchmark(__doc__, rows, names=4_200_000, dataset="ToyUnlabeled", kinds=KINDS)
