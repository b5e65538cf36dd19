"""The table in docs/repairs.md has one row for every fix, and no other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from fastreid_compat.registry import INSTALL_COMMAND, repairs

PAGE = Path(__file__).parents[2] / "docs" / "repairs.md"
HEADER = "| fix | symptom without it | where | since | repair | upstream |"


def rows() -> list[list[str]]:
    """Cells of all rows below a header of the table; the table is split by topic."""
    found = []
    for part in PAGE.read_text().split(HEADER)[1:]:
        lines = re.match(r"\n\|[-|]+\|\n((?:\|.*\n)+)", part)
        assert lines, part[:200]
        for line in lines[1].splitlines():
            found.append([cell.strip() for cell in line.strip("|").split("|")])
    return found


def test_every_fix_has_one_row_and_every_row_a_fix():
    names = [row[0].strip("`") for row in rows()]
    assert sorted(names) == sorted(item.name for item in repairs())


@pytest.mark.parametrize("item", repairs(), ids=[item.name for item in repairs()])
def test_row_says_where_and_since_when(item):
    (row,) = [row for row in rows() if row[0] == f"`{item.name}`"]
    assert len(row) == 6 and all(row)
    assert row[2] == f"`{item.where}`"
    assert row[3] == item.since


def test_number_of_fixes_and_install_command():
    text = PAGE.read_text()
    assert f"{len(repairs())} repairs" in " ".join(text.split())
    assert INSTALL_COMMAND in text
