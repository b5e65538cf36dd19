"""Open a data set of LUPerson's size: seconds, and memory of the process and of its workers.

python tools/benchmarks/dino_listing.py --names 4200000

The listings are synthetic (names only; one image exists): a text file, a Parquet file, the pickled
list of CFS_list.pkl, and an LMDB with its keys.pkl. Each is opened in a process of its own, then
workers of a torch DataLoader look up random names in it, forked and spawned. Memory is what Linux
says in /proc: RSS = all resident pages, USS = those of this process alone. "added" is the USS of a
worker with the whole listing less that of one with a listing of 1,000 names. Ratios are those of
the seconds of opening.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import tempfile
from collections.abc import Sequence
from pathlib import Path

import fastreid_compat  # noqa: F401  (first: makes fastreid importable)
import torch
from dinopretrain.data.images import UnlabelledImages
from reid_core.data.opening import open_dataset
from reid_core.run.command_line import show_user_errors
from torch.utils.data import DataLoader, Dataset

from .harness import PEAK, Sample, alternate, header, print_table, timed
from .processes import HIGHEST, PSS, RSS, USS, in_child, memory
from .synthetic import LISTINGS, write_listing

START_METHODS = ("fork", "spawn")
FEW = 1000
LOOK_UPS = 40_000  # by all workers together
WORKERS = 2
WORKER = "worker USS, MiB"


class LookUps(Dataset):
    """Looks names up; a sample is (USS, PSS) of the process in MiB, at times."""

    def __init__(self, images: UnlabelledImages) -> None:
        self.images = images
        self.done = 0

    def __len__(self) -> int:
        return LOOK_UPS

    def __getitem__(self, index: int) -> torch.Tensor:
        place = index * 2654435761 % len(self.images)  # anywhere, each time elsewhere
        assert self.images.name(place)
        self.done += 1
        at_times = self.done % (LOOK_UPS // WORKERS // 4) == 0
        return torch.tensor([memory(USS), memory(PSS)] if at_times else [0.0, 0.0])


def measure(path: str, method: str) -> Sample:
    """Open a listing and look names up in workers; in a fresh process."""
    before = memory(RSS)
    opened: list[UnlabelledImages] = []
    sample = timed(lambda: opened.append(open_dataset(f"LUPerson:{path}").images))()
    sample |= {"RSS before, MiB": before, "RSS after, MiB": memory(RSS), PEAK: memory(HIGHEST)}
    loader = DataLoader(
        LookUps(opened[0]), batch_size=100, num_workers=WORKERS, multiprocessing_context=method
    )
    uss, pss = torch.cat(list(loader)).amax(dim=0).tolist()
    return {**sample, WORKER: uss, "worker PSS, MiB": pss}


@show_user_errors
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--names", type=int, default=4_200_000, help="entries of a listing")
    parser.add_argument("--kinds", nargs="+", default=list(LISTINGS), choices=LISTINGS)
    args = parser.parse_args(argv)
    header(args)
    with tempfile.TemporaryDirectory() as folder:
        few = write_listing(Path(folder) / "few", "text", FEW)
        small = {method: in_child(measure, str(few), method) for method in START_METHODS}
        contenders = {}
        for kind in args.kinds:
            path = write_listing(Path(folder) / kind, kind, args.names)
            for method in START_METHODS:
                name = f"{kind}, {method}ed workers"
                contenders[name] = functools.partial(in_child, measure, str(path), method)
        rows = zip(alternate(contenders, 1).rows(), itertools.cycle(START_METHODS), strict=False)
        print_table(
            {**row, "added, MiB": float(row[WORKER]) - small[method][WORKER]}
            for row, method in rows
        )
    return 0
