"""Data filters at LUPerson's size: seconds and memory; images/s of those that look at pixels.

python tools/benchmarks/filters.py --names 4200000

Names, scores and hashes are synthetic. Each case runs in a process of its own; "grew by" is the
highest RSS while it filtered less the RSS before, the listing itself being open. Pixels are those
of ToyUnlabeled's renderings, or of another data set, decoded from memory-cached files. The first
of each table is the baseline.
"""

from __future__ import annotations

import argparse
import functools
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import fastreid_compat  # noqa: F401  (first: makes fastreid importable)
import numpy as np
from cfs.filters.chain import run_filters
from cfs.filters.duplicate_filter import first_of_similar
from dinopretrain.data.images import FileImages
from dinopretrain.data.path_list import PathList
from reid_core.data.opening import data_root, open_dataset
from reid_core.run.command_line import show_user_errors

from .harness import WALL, Sample, alternate, header, print_table, timed
from .processes import HIGHEST, RSS, in_child, memory
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


def search_of_duplicates(count: int) -> Callable[[], int]:
    """A function that returns how many of ``count`` hashes are kept."""
    hashes = synthetic_hashes(count)
    return lambda: int((first_of_similar(hashes, 4) == np.arange(count)).sum())


def filter_by_names(path: Path, count: int, folder: str) -> Callable[[], int]:
    """A function that returns how many of ``count`` images the list or the scores keep."""
    images = FileImages(PathList.from_iterable(names(count)), folder)
    entry = {"NAME": "CFSFilter", "SCORES": str(path), "KEEP": 0.5}
    return lambda: len(run_filters([entry], images, folder, folder)[0])


def measure_names(kind: str, count: int) -> Sample:
    """Time one filter by names, or the search of duplicates; in a fresh process."""
    with tempfile.TemporaryDirectory() as folder:
        if kind == "hashes":
            work = search_of_duplicates(count)
        else:
            path = Path(folder) / "list"
            written = in_child(_write, path, kind, count)  # whose memory does not count here
            work = filter_by_names(written, count, folder)
        before, kept = memory(RSS), []
        sample = timed(lambda: kept.append(work()))()
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


@show_user_errors
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    kinds = [*BY_NAME, *BY_PIXELS]
    parser.add_argument("--names", type=int, default=4_200_000, help="images of a listing")
    parser.add_argument("--dataset", default="ToyUnlabeled", help="images whose pixels are read")
    parser.add_argument("--kinds", nargs="+", choices=kinds, default=kinds)
    args = parser.parse_args(argv)
    header(args)
    print(f"data root: {data_root()}\n")
    by_name = {
        kind: functools.partial(in_child, measure_names, kind, args.names)
        for kind in args.kinds
        if kind in BY_NAME
    }
    by_pixels = {
        name: functools.partial(in_child, measure_pixels, name, args.dataset)
        for name in args.kinds
        if name in BY_PIXELS
    }
    for contenders in filter(None, (by_name, by_pixels)):
        print_table(alternate(contenders, 1).rows())
        print()
    return 0
