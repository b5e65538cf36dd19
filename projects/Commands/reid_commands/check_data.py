"""Check a data set before training on it: damaged files, leaks, duplicates, hopeless queries.

transreid check-data Market1501
transreid check-data FolderReID:/data/shop --json shop.json --strict
transreid check-data --config-file projects/TransReID/configs/Market1501/vit_base.yml

Every file is read and decoded once. A config's training and test sets are checked together.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from reid_common.errors import UserError
from reid_common.left_out import check_left_out
from reid_core.checks.parts import Part, parts_of, parts_of_config
from reid_core.checks.problems import MIN_SIZE
from reid_core.checks.report import check_parts
from reid_core.config import load_config
from reid_core.config.projects import import_installed
from reid_core.run.command_line import add_config_arguments, command_parser

from .arguments import add_max_bad
from .command import command

PROBLEMS_FOUND = 1  # exit status with --strict
LEAST = {"min-size": 0, "show": 0, "workers": 1}  # value of an option


def parser() -> argparse.ArgumentParser:
    """The command line."""
    lines = command_parser(__doc__)
    add = lines.add_argument
    add("names", nargs="*", metavar="NAME", help="data sets, as in DATASETS.NAMES")
    add("--min-size", type=int, default=MIN_SIZE, metavar="PIXELS", help="least side (%(default)s)")
    add("-o", "--out", "--json", type=Path, metavar="FILE", help="JSON file of everything found")
    add("--strict", action="store_true", help="exit status 1 if anything is found")
    add("--show", type=int, default=5, metavar="N", help="lines shown of each problem (5)")
    add("--workers", type=int, metavar="N", help="threads (two a core)")
    add_max_bad(lines)
    add_config_arguments(lines, "check DATASETS.NAMES and DATASETS.TESTS of a config")
    return lines


def parts_to_check(args: argparse.Namespace) -> list[Part]:
    """Parts of all data sets that the command line names.

    Raises:
        UserError: it names none, or names and a config.
    """
    if bool(args.names) == bool(args.config_file):
        raise UserError("name one or more data sets, or a config with --config-file")
    if args.config_file:
        return parts_of_config(load_config(args.config_file, args.opts))
    import_installed()  # registers the data sets of all projects
    return [part for name in dict.fromkeys(args.names) for part in parts_of(name)]


@command(parser)
def main(args: argparse.Namespace) -> int:
    """Run the command line."""
    for option, least in LEAST.items():
        value = vars(args)[option.replace("-", "_")]
        if value is not None and value < least:
            raise UserError(f"--{option} is {value}; give a whole number of at least {least}")
    parts = parts_to_check(args)
    problems = check_parts(parts, args.min_size, args.show, args.out, args.workers)
    files = len({entry.path for part in parts for entry in part.entries})
    bad = [line.partition(": ")[2] for p in problems if p.kind == "unreadable" for line in p.found]
    remedy = "Copy the data set again; --max-bad allows a greater share"
    check_left_out(files, bad, "image files", args.max_bad, remedy)
    return PROBLEMS_FOUND if args.strict and problems else 0
