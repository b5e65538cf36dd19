"""What all benchmarks share: command line, agreement of the contenders, and the table.

How contenders take turns, and are timed: :mod:`reid_common.timing`.
"""

from __future__ import annotations

import argparse
import itertools
import platform
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from fastreid_compat.repairs.distributed.launch import num_cores
from reid_common.timing import (
    CPU,
    PEAK,
    WALL,
    Cell,
    Comparison,
    Sample,
    alternate,
    summary,
    timed,
)
from reid_core.run.command_line import command_parser, show_user_errors

__all__ = ["CPU", "PEAK", "WALL", "Comparison", "Sample", "alternate", "summary", "timed"]

Row = Mapping[str, Cell]


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
