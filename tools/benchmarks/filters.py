"""Data filters at LUPerson's size: seconds and memory; images/s of those that look at pixels.

python tools/benchmarks/filters.py --names 4200000

Names, scores and hashes are synthetic. Each case runs in a process of its own; "grew by" is the
highest RSS while it filtered less the RSS before, the listing itself being open. Pixels are those
of ToyUnlabeled's renderings, decoded from memory-cached files.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import fastreid_compat  # noqa: F401  (first: makes fastreid importable)
import numpy as np
from cfs.filters.chain import run_filters
from cfs.filters.duplicate_filter import first_of_similar
from dino_listing import RSS, memory, names, peak, printed_json
from dinopretrain.data.images import FileImages
from dinopretrain.data.path_list import PathList
from reid_core.data.opening import data_root, open_dataset

BY_NAME = ("text", "pickle", "parquet", "scores", "hashes")
BY_PIXELS = {
    "ResolutionFilter": {"MIN_HEIGHT": 1},
    "BlurFilter": {"MIN": 0},
    "DuplicateFilter": {"MAX_DISTANCE": 4},
}
NOISY, FLIPS = 0.1, 3  # share of hashes that are near another, and by how many bits at most


def write_list(folder: Path, kind: str, count: int) -> Path:
    """Write a list of all names of one kind, or shards of scores."""
    from dino_listing import write_listing

    if kind != "scores":
        return Path(write_listing(folder / "list", kind, count).partition(":")[2])
    import pyarrow
    from pyarrow import parquet

    scores = np.random.default_rng(0).beta(8, 2, count).astype(np.float32)
    stream = names(count)
    (folder / "scores").mkdir()
    for start in range(0, count, 100_000):
        some = scores[start : start + 100_000]
        table = pyarrow.table({"path": [next(stream) for _ in some], "score": some})
        parquet.write_table(table, folder / f"scores/part-{start // 100_000:05d}.parquet")
    return folder / "scores"


def synthetic_hashes(count: int) -> np.ndarray:
    """Random hashes, a tenth of which are an earlier one with up to three bits flipped."""
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**64, count, dtype=np.uint64)
    near = np.flatnonzero(rng.random(count) < NOISY)
    hashes[near] = hashes[rng.integers(0, np.maximum(near, 1))]
    for _ in range(FLIPS):
        hashes[near] ^= np.uint64(1) << rng.integers(0, 64, len(near), dtype=np.uint64)
    return hashes


def measure_names(kind: str, folder: Path, count: int) -> dict[str, float]:
    """Time one filter by names, or the search of duplicates."""
    work: Callable[[], int]
    if kind == "hashes":
        hashes = synthetic_hashes(count)

        def work() -> int:
            return int((first_of_similar(hashes, 4) == np.arange(count)).sum())
    else:
        images = FileImages(PathList.from_iterable(names(count)), str(folder))
        path = str(next(folder.glob("scores")) if kind == "scores" else _list_in(folder))
        entry = {"NAME": "CFSFilter", "SCORES": path, "KEEP": 0.5}

        def work() -> int:
            return len(run_filters([entry], images, str(folder), str(folder))[0])

    before, start = memory(RSS), time.perf_counter()
    kept = work()
    seconds = time.perf_counter() - start
    return {"kept": kept, "seconds": seconds, "before": before, "peak": peak()}


def _list_in(folder: Path) -> Path:
    return next(path for path in (folder / "list").iterdir() if path.is_file())


def measure_pixels(name: str) -> dict[str, float]:
    """Time one filter that looks at the images of ToyUnlabeled, from nothing and from its cache."""
    images = open_dataset("ToyUnlabeled").images
    entry = {"NAME": name, **BY_PIXELS[name]}
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(2):
            start = time.perf_counter()
            run_filters([entry], images, folder, folder)
            seconds.append(time.perf_counter() - start)
    return {"count": len(images), "first": seconds[0], "again": seconds[1]}


def in_new_process(*arguments: str) -> dict[str, float]:
    """Run one case in a fresh process."""
    return printed_json([sys.executable, __file__, *arguments])


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--names", type=int, default=4_200_000, help="images of a listing")
    parser.add_argument("--kinds", nargs="+", default=[*BY_NAME, *BY_PIXELS])
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure in BY_PIXELS:
        print(json.dumps(measure_pixels(args.measure)))
        return
    if args.measure:
        print(json.dumps(measure_names(args.measure, Path(args.folder), args.names)))
        return
    print(f"data root: {data_root()}\n")
    for kind in args.kinds:
        if kind in BY_PIXELS:
            got = in_new_process("--measure", kind)
            rates = ", ".join(f"{got['count'] / got[key]:,.0f}" for key in ("first", "again"))
            print(f"{kind}: {got['count']:.0f} images, images/s at first, again: {rates}")
            continue
        with tempfile.TemporaryDirectory() as folder:
            if kind != "hashes":
                write_list(Path(folder), kind, args.names)
            options = ("--names", str(args.names), "--folder", folder)
            got = in_new_process("--measure", kind, *options)
            print(
                f"{kind}: {got['kept']:,.0f} of {args.names:,} kept in {got['seconds']:.1f} s; RSS "
                f"before {got['before']:.0f} MiB, grew by {got['peak'] - got['before']:.0f} MiB",
                flush=True,
            )


if __name__ == "__main__":
    main()
