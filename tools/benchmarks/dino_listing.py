"""Open a data set of LUPerson's size: seconds, and memory of the process and of its workers.

python tools/benchmarks/dino_listing.py --names 4200000

The listings are synthetic (names only; one image exists): a text file, a Parquet file, the pickled
list of CFS_list.pkl, and an LMDB with its keys.pkl. Each is opened in a process of its own, then
workers of a torch DataLoader look up random names in it, forked and spawned. Memory is what Linux
says in /proc: RSS = all resident pages, USS = those of this process alone. "added" is the USS of a
worker with the whole listing less that of one with a listing of 1,000 names.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import fastreid_compat  # noqa: F401  (first: makes fastreid importable)
import torch
from dinopretrain.data.images import UnlabelledImages
from reid_core.data.opening import open_dataset
from torch.utils.data import DataLoader, Dataset

KINDS = ("text", "parquet", "pickle", "lmdb")
START_METHODS = ("fork", "spawn")
FEW = 1000
LOOK_UPS = 40_000  # by all workers together
WORKERS = 2
MIB = 2**20


def names(count: int) -> Iterator[str]:
    """Names as long as LUPerson's."""
    for i in range(count):
        yield f"{i // 1000:05d}_video_{i * 2654435761 % 2**32:08x}/frame_{i % 1000:06d}_person.jpg"


def write_listing(folder: Path, kind: str, count: int) -> str:
    """Write a listing of one kind, and return the data set's name in a config."""
    folder.mkdir()
    first = folder / next(names(1))
    first.parent.mkdir()
    first.touch()
    if kind == "text":
        path = folder / "list.txt"
        with open(path, "w") as file:
            file.writelines(f"{name}\n" for name in names(count))
    elif kind == "parquet":
        import pyarrow
        from pyarrow import parquet

        path = folder / "list.parquet"
        parquet.write_table(pyarrow.table({"image": list(names(count))}), path)
    elif kind == "pickle":
        path = folder / "CFS_list.pkl"
        with open(path, "wb") as file:
            pickle.dump(list(names(count)), file)
    else:
        import lmdb

        path = folder
        with lmdb.open(str(folder / "lmdb")) as base, base.begin(write=True) as transaction:
            transaction.put(next(names(1)).encode(), b"image")
        with open(folder / "keys.pkl", "wb") as file:
            pickle.dump(list(names(count)), file)
    return f"LUPerson:{path}"


def memory(fields: str) -> float:
    """Sum of fields of /proc/self/smaps_rollup ("Private_Clean Private_Dirty"), in MiB."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]
    values = {line.split()[0].rstrip(":"): int(line.split()[1]) for line in lines}
    return sum(values[field] for field in fields.split()) / 1024


RSS, USS, PSS = "Rss", "Private_Clean Private_Dirty", "Pss"


def peak() -> float:
    """Highest RSS of this process so far, in MiB."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def printed_json(command: Sequence[str], env: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Run a command; returns the JSON that is the last line it prints."""
    done = subprocess.run(command, env=env, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


class LookUps(Dataset):
    """Looks names up; a sample is (process, USS, PSS) in MiB."""

    def __init__(self, images: UnlabelledImages) -> None:
        self.images = images
        self.done = 0

    def __len__(self) -> int:
        return LOOK_UPS

    def __getitem__(self, index: int) -> torch.Tensor:
        place = index * 2654435761 % len(self.images)  # anywhere, each time elsewhere
        assert self.images.name(place)
        self.done += 1
        sizes = (0.0, 0.0)
        if self.done % (LOOK_UPS // WORKERS // 4) == 0:
            sizes = memory(USS), memory(PSS)
        return torch.tensor([float(os.getpid()), *sizes], dtype=torch.float64)


def measure(name: str, method: str) -> None:
    """Open a listing, look names up in workers, and print what was measured as JSON."""
    before = memory(RSS)
    start = time.perf_counter()
    images = open_dataset(name).images
    seconds = time.perf_counter() - start
    result = {
        "count": len(images),
        "seconds": seconds,
        "before": before,
        "after": memory(RSS),
        "peak": peak(),
    }
    loader = DataLoader(
        LookUps(images), batch_size=100, num_workers=WORKERS, multiprocessing_context=method
    )
    samples = torch.cat(list(loader))
    result["uss"] = samples[:, 1].max().item()
    result["pss"] = samples[:, 2].max().item()
    result["workers"] = len(samples[:, 0].unique())
    print(json.dumps(result))


def in_new_process(name: str, method: str) -> dict[str, float]:
    """Run :func:`measure` in a fresh process."""
    return printed_json([sys.executable, __file__, "--measure", name, "--method", method])


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--names", type=int, default=4_200_000, help="entries of a listing")
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--method", default="fork", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        measure(args.measure, args.method)
        return
    print(
        "| listing | entries | workers | open, s | RSS before, MiB | after | peak | worker USS "
        "| worker PSS | added by the listing |\n" + "|---" * 10 + "|"
    )
    with tempfile.TemporaryDirectory() as folder:
        few = write_listing(Path(folder) / "few", "text", FEW)
        small = {method: in_new_process(few, method)["uss"] for method in START_METHODS}
        for kind in args.kinds:
            many = write_listing(Path(folder) / kind, kind, args.names)
            for method in START_METHODS:
                big = in_new_process(many, method)
                print(
                    f"| {kind} | {big['count']:,} | {method} | {big['seconds']:.1f} "
                    f"| {big['before']:.0f} | {big['after']:.0f} | {big['peak']:.0f} "
                    f"| {big['uss']:.0f} | {big['pss']:.0f} | {big['uss'] - small[method]:.0f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
