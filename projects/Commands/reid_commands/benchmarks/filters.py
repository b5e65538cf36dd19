"""Data filters at LUPerson's size: seconds and memory; images/s of those that look at pixels.

python tools/benchmarks/filters.py --names 4200000

Names, scores and hashes are synthetic. Each case runs in a process of its own; "grew by" is the
highest RSS while it filtered less the RSS before, the listing itself being open. Pixels are those
of ToyUnlabeled's renderings, or of another data set, decoded from memory-cached files. The first
of each table is the baseline.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from cfs.filters.chain import run_filters
from cfs.filters.duplicate_filter import first_of_similar
from dinopretrain.data.images import FileImages
from dinopretrain.data.path_list import PathList
from reid_core.data.opening import open_dataset

from .harness import WALL, Row, Sample, alternate, benchmark, timed
from .processes import HIGHEST, RSS, in_child, in_children, memory
from .synthetic import names, write_listing, write_scores

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


def measure_names(kind: str, count: int) -> Sample:
    """Time one filter by names, or the search of duplicates; in a fresh process."""
    with tempfile.TemporaryDirectory() as folder:
        if kind == "hashes":
            hashes = synthetic_hashes(count)
        else:
            path = Path(folder) / "list"
            written = in_child(_write, path, kind, count)  # whose memory does not count here
            images = FileImages(PathList.from_iterable(names(count)), folder)
            entry = {"NAME": "CFSFilter", "SCORES": str(written), "KEEP": 0.5}
        before, kept = memory(RSS), []

        def work() -> None:
            if kind == "hashes":
                kept.append(int((first_of_similar(hashes, 4) == np.arange(count)).sum()))
            else:
                kept.append(len(run_filters([entry], images, folder, folder)[0]))

        sample = timed(work)()
        return {**sample, "kept": kept[0], "grew by, MiB": memory(HIGHEST) - before}


def _write(path: Path, kind: str, count: int) -> Path:
    if kind != "scores":
        return write_listing(path, kind, count)
    write_scores(path, names(count), count)
    return path


def measure_pixels(name: str, dataset: str) -> Sample:
    """Time one filter that looks at the images of a data set, from nothing and from its cache."""
    images = open_dataset(dataset).images
    entry = {"NAME": name, **BY_PIXELS[name]}
    with tempfile.TemporaryDirectory() as folder:
        run = timed(lambda: run_filters([entry], images, folder, folder))
        first, again = run(), run()
    return {**first, "images/s": len(images) / first[WALL], "again": len(images) / again[WALL]}


def rows(args: argparse.Namespace) -> Iterator[Row]:
    """Filters by names, then those that look at pixels."""
    by_name = {kind: (kind, args.names) for kind in args.kinds if kind in BY_NAME}
    by_pixels = {name: (name, args.dataset) for name in args.kinds if name in BY_PIXELS}
    for function, cases in ((measure_names, by_name), (measure_pixels, by_pixels)):
        if cases:
            yield from alternate(in_children(function, cases)).rows()


KINDS = dict.fromkeys([*BY_NAME, *BY_PIXELS])
main, parser = benchmark(__doc__, rows, names=4_200_000, dataset="ToyUnlabeled", kinds=KINDS)
