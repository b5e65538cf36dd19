"""What the benchmarks of evaluation share: sets of features, alternating runs, peaks of memory.

Each run has a process of its own, forked from one that has made no tensor yet, so that its peak of
memory (VmHWM, Linux) is that of what is measured. Calls of milliseconds are repeated there, and
their median counts: a first call would measure pages and branches that are new to the processor.
"""

from __future__ import annotations

import argparse
import multiprocessing
import platform
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import faiss
import fastreid_compat  # noqa: F401  (first: makes fastreid importable)
import numpy as np
import threadpoolctl
import torch
import torch.nn.functional as F

# Name -> queries, gallery images, identities: published test sets, and smaller ones
SIZES = {
    "1000": (200, 800, 40),
    "2000": (400, 1_600, 80),
    "4000": (700, 3_300, 160),
    "8000": (1_400, 6_600, 320),
    "Market-1501": (3_368, 15_913, 750),
    "MSMT17": (11_659, 82_161, 3_060),
}
WARM_UP = "warm-up"
NUM_CAMERAS = 6
TOLERANCE = 1e-5
REPEATED_SECONDS = 0.2  # what repetitions of a short call take together


class TestSet:
    """Random clustered features of length 1, (N, dim), queries first, with ids and cameras.

    Args:
        size: name in SIZES; any other name is a tiny set.
        dim: of the features.
        noise: length of the noise beside a centre of length 1.
    """

    def __init__(self, size: str, dim: int, noise: float) -> None:
        self.num_query, num_gallery, num_ids = SIZES.get(size, (20, 80, 5))
        count = self.num_query + num_gallery
        rng, generator = np.random.default_rng(0), torch.Generator().manual_seed(0)
        self.pids = rng.integers(0, num_ids, count)
        self.camids = rng.integers(0, NUM_CAMERAS, count)
        centres = F.normalize(torch.randn(num_ids, dim, generator=generator))
        features = torch.randn(count, dim, generator=generator).mul_(noise / dim**0.5)
        self.features = F.normalize(features.add_(centres[torch.from_numpy(self.pids)]))

    def split(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Features of the queries (Q, dim) and of the gallery (G, dim)."""
        return self.features[: self.num_query], self.features[self.num_query :]

    def ids(self) -> tuple[np.ndarray, ...]:
        """Identities of queries and gallery, then their cameras."""
        q = self.num_query
        return self.pids[:q], self.pids[q:], self.camids[:q], self.camids[q:]


@dataclass
class Contender:
    """One implementation.

    Attributes:
        name: in the table.
        run: what is timed: (test set, what ``prepare`` returned) -> figures by name.
        prepare: what is not timed, but counts in the memory.
        rounds: runs, if there shall be fewer than the command line says.
        runs: (seconds, seconds of processors, megabytes) of each run; medians where it is short.
    """

    name: str
    run: Callable[[TestSet, Any], dict[str, float]]
    prepare: Callable[[TestSet], Any] = lambda test_set: None
    rounds: int = 1000
    runs: list[tuple[float, float, float]] = field(default_factory=list)


def parser(doc: str) -> argparse.ArgumentParser:
    """Options that the benchmarks have."""
    options = argparse.ArgumentParser(description=doc.splitlines()[0])
    options.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES)[:-1])
    options.add_argument("--msmt17", action="store_true", help="this alone, at MSMT17's size")
    options.add_argument("--dim", type=int, default=768)
    # Of a good model: Rank-1 0.9, mAP 0.6 at Market-1501's size
    options.add_argument("--noise", type=float, default=4.0, help="beside centres of length 1")
    options.add_argument("--rounds", type=int, default=3, help="runs of each, alternating")
    options.add_argument("--threads", type=int, default=torch.get_num_threads())
    return options


def compare(
    contenders: Sequence[Contender],
    size: str,
    args: argparse.Namespace,
    tolerance: float = TOLERANCE,
) -> None:
    """Run all contenders in turn, ``args.rounds`` times, and print a row of the table for each.

    Speeds are relative to the last contender. The time of processors is of use where other
    programs take some of them. Figures that differ by more than ``tolerance`` end the program.
    """
    ours = contenders[-1]
    figures: dict[str, dict[str, float]] = {}
    for one in contenders:
        one.runs.clear()
    for number in range(args.rounds):
        for one in contenders:
            if number < one.rounds:
                figures[one.name], measured = _in_a_process(one, size, args)
                one.runs.append(measured)
    base, base_busy = np.median(ours.runs, axis=0)[:2]
    for one in contenders:
        seconds, busy, peaks = np.array(one.runs).T
        _check(figures[one.name], figures[ours.name], one.name, tolerance)
        print(
            f"| {size} | {one.name} | {np.median(seconds):.3g} | "
            f"{seconds.min():.3g}-{seconds.max():.3g} | {np.median(seconds) / base:.2f} | "
            f"{np.median(busy):.3g} | {np.median(busy) / base_busy:.2f} | {peaks.max():.0f} |",
            flush=True,
        )


def header(args: argparse.Namespace) -> None:
    """Print where this runs and the head of the table."""
    print(
        f"{_processor()}, {args.threads} thread(s), Python {platform.python_version()}, "
        f"numpy {np.__version__}, torch {torch.__version__}; D {args.dim}, {args.rounds} round(s)\n"
        "\n| size | | seconds (median) | range | times the last | processor s | times the last "
        "| peak MB beyond the features |"
        "\n|---|---|---|---|---|---|---|---|"
    )


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _check(
    figures: dict[str, float], expected: dict[str, float], name: str, tolerance: float
) -> None:
    for key, value in figures.items():
        if abs(value - expected[key]) > tolerance:
            sys.exit(f"error: {name} has {key} {value}, the last one {expected[key]}")


def _in_a_process(
    contender: Contender, size: str, args: argparse.Namespace
) -> tuple[dict[str, float], tuple[float, float, float]]:
    context = multiprocessing.get_context("fork")
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(send, contender, size, args))
    process.start()
    send.close()
    try:
        answer = receive.recv()
    except EOFError:
        process.join()
        sys.exit(f"error: the process of {contender.name} ended with {process.exitcode}")
    process.join()
    return answer


def _run(send: Any, contender: Contender, size: str, args: argparse.Namespace) -> None:
    torch.set_num_threads(args.threads)
    faiss.omp_set_num_threads(args.threads)
    threadpoolctl.threadpool_limits(args.threads)  # numpy's
    small = TestSet(WARM_UP, args.dim, args.noise)
    contender.run(small, contender.prepare(small))
    test_set = TestSet(size, args.dim, args.noise)
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
    before = _megabytes("VmRSS")
    prepared = contender.prepare(test_set)
    times: list[tuple[float, float]] = []
    while sum(seconds for seconds, _ in times) < REPEATED_SECONDS:
        start, busy = time.perf_counter(), time.process_time()
        figures = contender.run(test_set, prepared)
        times.append((time.perf_counter() - start, time.process_time() - busy))
    seconds, busy = np.median(times, axis=0)
    send.send((figures, (seconds, busy, _megabytes("VmHWM") - before)))


def _megabytes(key: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(key))
