"""``python -m fastreid_compat`` lists what is repaired in the installed FastReID."""

from __future__ import annotations

import sys

from tabulate import tabulate

from .registry import repairs

HEADERS = ("fix", "where", "since", "applied", "without it")
WIDTHS = (26, 34, 14, 7, 60)


def table() -> str:
    """Return the table of all fixes, in the order in which they were applied."""
    rows = [
        (item.name, item.where, item.since, "yes" if item.applied else "no", item.symptom)
        for item in repairs()
    ]
    return tabulate(rows, HEADERS, tablefmt="simple_grid", maxcolwidths=list(WIDTHS))


def main() -> int:
    """Print the table; "no" means that the defect is not there, as on an older torch."""
    print(table())
    applied = sum(bool(item.applied) for item in repairs())
    print(f"{applied} of {len(repairs())} fixes applied; the others are not needed here.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
