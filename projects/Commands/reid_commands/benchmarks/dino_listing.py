"""Open a data set of LUPerson's size: seconds, and memory of the process and of its workers.

python tools/benchmarks/dino_listing.py --names 4200000

The listings are synthetic (names only; one image exists): a text file, a Parquet file, the pickled
list of CFS_list.pkl, and an LMDB with its keys.pkl. Each is opened in a process of its own, then
workers of a torch DataLoader look up random names in it, forked and spawned. Memory is what Linux
says in /proc: the highest RSS (all resident pages), and the USS of a worker (those of it alone).
Ratios are those of the seconds of opening.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

from dinopretrain.data.images import UnlabelledImages
from reid_core.data.opening import open_dataset
from torch.utils.data import DataLoader, Dataset

from .harness import PEAK, Row, Sample, alternate, benchmark, timed
from .processes import HIGHEST, USS, in_children, memory
from .synthetic import LISTINGS, write_listing

LOOK_UPS = 40_000  # by all workers together
WORKERS = 2
WORKER = "worker USS, MiB"


class LookUps(Dataset):
    """Looks names up; a sample is the USS of the process in MiB, at times."""

    def __init__(self, images: UnlabelledImages) -> None:
        self.images, self.done = images, 0

    def __len__(self) -> int:
        return LOOK_UPS

    def __getitem__(self, index: int) -> float:
        assert self.images.name(index * 2654435761 % len(self.images))  # anywhere
        self.done += 1
        return memory(USS) if self.done % (LOOK_UPS // WORKERS // 4) == 0 else 0.0


def measure(path: Path, method: str) -> Sample:
    """Open a listing and look names up in workers; in a fresh process."""
    opened: list[UnlabelledImages] = []
    sample = timed(lambda: opened.append(open_dataset(f"LUPerson:{path}").images))()
    sample[PEAK] = memory(HIGHEST)
    loader = DataLoader(
        LookUps(opened[0]), batch_size=100, num_workers=WORKERS, multiprocessing_context=method
    )
    return {**sample, WORKER: max(batch.max().item() for batch in loader)}


def rows(args: argparse.Namespace) -> Iterator[Row]:
    """Each kind of listing with each kind of workers."""
    with tempfile.TemporaryDirectory() as folder:
        cases: dict[str, tuple[Path, str]] = {}
        for kind in args.kinds:
            path = write_listing(Path(folder) / kind, kind, args.names)
            cases |= {f"{kind}, {method}ed workers": (path, method) for method in ("fork", "spawn")}
        yield from alternate(in_children(measure, cases)).rows()


main, parser = benchmark(__doc__, rows, names=4_200_000, kinds=LISTINGS)
