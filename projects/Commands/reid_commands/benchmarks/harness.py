"""What all benchmarks share: command line, contenders in turns, two clocks, ratios, and the table.

A contender is a function that returns a sample: numbers by the column of the table. Contenders take
turns, so that a machine that gets slower slows all of them; medians over the rounds are compared
with those of one of them, the baseline.
"""

from __future__ import annotations

import argparse
import itertools
import platform
import re
import statistics
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from fastreid_compat.repairs.distributed.launch import num_cores
from reid_common.errors import UserError
from reid_core.run.command_line import command_parser, show_user_errors

WALL, CPU, PEAK = "seconds", "processor seconds", "peak MiB"

Sample = dict[str, float]
Cell = str | float
Row = Mapping[str, Cell]


def timed(
    call: Callable[[], Any],
    least: float = 0.0,
    wall: Callable[[], float] = time.perf_counter,
    cpu: Callable[[], float] = time.process_time,
) -> Callable[[], Sample]:
    """Make a contender of ``call``: a sample has its seconds by the clocks ``wall`` and ``cpu``.

    A call that is shorter than ``least`` seconds is repeated for so long, and its medians count.
    """

    def sample() -> Sample:
        samples: list[Sample] = []
        while sum(one[WALL] for one in samples) < least or not samples:
            start, busy = wall(), cpu()
            call()
            samples.append({WALL: wall() - start, CPU: cpu() - busy})
        return summary(samples)

    return sample


def summary(samples: Sequence[Sample]) -> Sample:
    """Return the median of each number; of peaks of memory, the highest."""
    return {
        key: (max if key == PEAK else statistics.median)([one[key] for one in samples])
        for key in samples[0]
    }


@dataclass(frozen=True)
class Comparison:
    """Samples of contenders by name, in the order of the rounds; less of ``key`` is better."""

    samples: dict[str, list[Sample]]
    baseline: str
    key: str = WALL

    def ratio(self, name: str) -> float:
        """How many times better than the baseline a contender is, by the medians."""
        return self._median(self.baseline) / self._median(name)

    def ratios(self, name: str) -> list[float]:
        """The same round by round; of a baseline that ran once, that run counts for all rounds."""
        base, own = ([s[self.key] for s in self.samples[who]] for who in (self.baseline, name))
        return [base[min(i, len(base) - 1)] / value for i, value in enumerate(own)]

    def _median(self, name: str) -> float:
        return summary(self.samples[name])[self.key]

    def rows(self, images: int = 0) -> Iterator[dict[str, Cell]]:
        """Rows of the table; with the number of images of a sample also images/s."""
        for name, samples in self.samples.items():
            ratios = self.ratios(name)
            yield {
                "contender": name,
                **summary(samples),
                **({"images/s": images / self._median(name)} if images else {}),
                f"ratio of {self.key}": self.ratio(name),
                "round by round": f"{min(ratios):.2f}-{max(ratios):.2f}",
            }


def alternate(
    contenders: Mapping[str, Callable[[], Sample]],
    rounds: int = 1,
    *,
    baseline: str | None = None,
    key: str = WALL,
    once: Collection[str] = (),
) -> Comparison:
    """Run all contenders in turn, ``rounds`` times.

    Args:
        contenders: by name; warmed up, where that matters.
        rounds: at least 1.
        baseline: contender to which ratios refer (the first).
        key: number of a sample that ratios compare.
        once: slow contenders, which run in the first round only.
    """
    if rounds < 1:
        raise UserError(f"there are {rounds} rounds of the benchmark; ask for at least 1")
    samples: dict[str, list[Sample]] = {name: [] for name in contenders}
    for number in range(rounds):
        for name, contender in contenders.items():
            if number == 0 or name not in once:
                samples[name].append(contender())
    return Comparison(samples, baseline or next(iter(contenders)), key)


def check_agreement(found: Mapping[str, Sample], tolerance: float) -> None:
    """Raise RuntimeError if numbers differ from those of the first contender by more than this.

    Of numbers above 1 the tolerance is a share of them.
    """
    first, expected = next(iter(found.items()))
    for name, values in found.items():
        for key, value in values.items():
            if not abs(value - expected[key]) <= tolerance * max(1, abs(expected[key])):
                raise RuntimeError(
                    f"the implementations disagree: {key} of {first!r} is {expected[key]}, "
                    f"of {name!r} {value}"
                )


def compare_steps(
    steps: Mapping[str, Callable[[], float]], rounds: int, tolerance: float
) -> Comparison:
    """Compare training steps, which return their loss; the first one, not timed, must agree."""
    check_agreement({name: {"loss": step()} for name, step in steps.items()}, tolerance)
    return alternate({name: timed(step) for name, step in steps.items()}, rounds)


def benchmark(
    doc: str | None,
    measure: Callable[..., Iterable[Row]],
    *packages: str,
    each: Mapping[str, str] | None = None,
    **options: Any,
) -> tuple[Callable[..., int], Callable[[], argparse.ArgumentParser]]:
    """Return the main function of a benchmark, which prints a table, and its parser.

    Args:
        doc: docstring of the module, shown as help.
        measure: from a value of each option of ``each`` and the arguments to rows of the table.
        packages: their versions are printed with those of Python, torch and numpy.
        each: option of several words -> column; ``measure`` is called for all combinations.
        options: default by name: False (a switch), a list, a tuple (as many words), a mapping (some
            of its keys), or one word. ``doc`` explains them.
    """
    each = each or {}

    def parser() -> argparse.ArgumentParser:
        lines = command_parser(doc)
        for name, default in options.items():
            how: dict[str, Any] = {"action": "store_true"}
            if isinstance(default, (list, tuple, dict)):
                how = {"type": type([*default, ""][0]), "default": [*default]}
                how["nargs"] = len(default) if isinstance(default, tuple) else "+"
                how["choices"] = default if isinstance(default, dict) else None
            elif default is not False:
                how = {"type": type(default), "default": default}
            text = f"({' '.join(map(str, how['default']))})" if "nargs" in how else f"({default})"
            lines.add_argument(f"--{name.replace('_', '-')}", help=text, **how)
        return lines

    def rows(args: argparse.Namespace) -> Iterator[Row]:
        for values in itertools.product(*(getattr(args, name) for name in each)):
            for row in measure(*values, args):
                yield {**dict(zip(each.values(), values, strict=True)), **row}

    @show_user_errors
    def main(argv: Sequence[str] | None = None) -> int:
        args = parser().parse_args(argv)
        header(args, *packages)
        print_table(rows(args))
        return 0

    return main, parser


def header(args: argparse.Namespace, *packages: str) -> None:
    """Print machine, threads, versions of Python, torch, numpy and ``packages``, and options."""
    cpu_info = Path("/proc/cpuinfo")
    text = cpu_info.read_text() if cpu_info.exists() else ""
    machine = (re.findall(r"model name\s*: (.*)", text) or [platform.machine()])[0]
    threads = getattr(args, "threads", torch.get_num_threads())
    versions = [f"{name} {version(name)}" for name in ("torch", "numpy", *packages)]
    print(f"{machine}, {num_cores()} cores, {threads} thread(s)", end=", ")
    print(", ".join([f"Python {platform.python_version()}", *versions]))
    print(", ".join(f"{name} {value}" for name, value in vars(args).items()) + "\n")


def print_table(rows: Iterable[Row]) -> None:
    """Print Markdown row by row; rows with other columns than the one before begin a new table."""
    columns: list[str] = []
    for row in rows:
        if columns != list(row):
            print("\n" * bool(columns) + "| " + " | ".join(row) + " |\n" + "|---" * len(row) + "|")
            columns = list(row)
        print("| " + " | ".join(map(_shown, row.values())) + " |", flush=True)


def _shown(value: Cell) -> str:
    """Text of a cell: floats with three digits, or all of those before the point."""
    if isinstance(value, str):
        return value
    return f"{value:,.0f}" if isinstance(value, int) or abs(value) >= 99.95 else f"{value:#.3g}"
