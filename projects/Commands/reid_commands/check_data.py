#!/usr/bin/env python3
"""Check a data set before training on it: damaged files, leaks, duplicates, queries in vain.

python tools/check_dataset.py Market1501
python tools/check_dataset.py FolderReID:/data/shop --json shop.json --strict
python tools/check_dataset.py --config-file projects/TransReID/configs/Market1501/vit_base.yml

Every file is read and decoded once. A config's training and test sets are checked together.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from reid_common.errors import UserError
from reid_core.checks.image_facts import look_at_all
from reid_core.checks.parts import Part, parts_of, parts_of_config, summary
from reid_core.checks.problems import MIN_SIZE, Problem, find_problems
from reid_core.config import load_config
from reid_core.run import reports
from reid_core.run.command_line import show_user_errors
from tabulate import tabulate

PROBLEMS_FOUND = 1  # exit status with --strict


def parser() -> argparse.ArgumentParser:
    """Command line."""
    lines = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    lines.add_argument("names", nargs="*", metavar="NAME", help="data sets, as in DATASETS.NAMES")
    lines.add_argument("--config-file", help="check DATASETS.NAMES and DATASETS.TESTS of a config")
    lines.add_argument("--opts", nargs="+", default=[], help="KEY VALUE pairs for the config")
    lines.add_argument("--min-size", type=int, default=MIN_SIZE, help="pixels (%(default)s)")
    lines.add_argument("--json", type=Path, metavar="FILE", help="write everything found to a file")
    lines.add_argument("--strict", action="store_true", help="exit status 1 if anything is found")
    lines.add_argument("--show", type=int, default=5, help="lines shown of each (%(default)s)")
    lines.add_argument("--workers", type=int, help="threads (two a core)")
    return lines


def opened(args: argparse.Namespace) -> list[Part]:
    """Parts of all data sets that the command line names.

    Raises:
        UserError: it names none, or names and a config.
    """
    if bool(args.names) == bool(args.config_file):
        raise UserError("name one or more data sets, or a config with --config-file")
    if args.config_file:
        return parts_of_config(load_config(args.config_file, args.opts))
    return [part for name in dict.fromkeys(args.names) for part in parts_of(name)]


def report(rows: list[dict[str, Any]], problems: list[Problem], show: int) -> str:
    """Text of what was found: a table of the parts, then each kind with its first lines."""
    lines = [tabulate(rows, headers="keys", tablefmt="github"), ""]
    for problem in problems:
        lines.append(f"{problem.kind}: {len(problem.found)} {problem.meaning}")
        lines += [f"    {line}" for line in problem.found[:show]]
        if len(problem.found) > show:
            lines.append(f"    and {len(problem.found) - show} more")
    return "\n".join(lines if problems else [*lines, "nothing found"])


@show_user_errors
def main(argv: list[str] | None = None) -> int:
    """Check, print, and return the exit status."""
    args = parser().parse_args(argv)
    parts = opened(args)
    paths = [entry.path for part in parts for entry in part.entries]
    facts = look_at_all(paths, args.workers, progress=True)
    rows, problems = list(summary(parts, facts)), find_problems(parts, facts, args.min_size)
    print(report(rows, problems, args.show))
    if args.json:
        try:
            reports.write_json(
                args.json, {"parts": rows, "problems": [asdict(p) for p in problems]}
            )
        except OSError as error:
            raise UserError(f"cannot write {str(args.json)!r}: {error.strerror}") from error
    return PROBLEMS_FOUND if args.strict and problems else 0


if __name__ == "__main__":
    sys.exit(main())
