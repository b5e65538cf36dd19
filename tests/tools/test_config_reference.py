"""docs/config.md is what the declaration of the keys says."""

from __future__ import annotations

from pathlib import Path

from reid_commands import config_reference
from reid_core.config.projects import declared_keys

PAGE = Path(__file__).parents[2] / "docs" / "config.md"


def test_the_page_is_up_to_date(tmp_path) -> None:
    out = tmp_path / "config.md"
    config_reference.main(["-o", str(out)])
    assert out.read_text() == PAGE.read_text(), "run python tools/config_reference.py"


def test_each_key_has_one_row() -> None:
    rows = [line.split("`")[1] for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    declared = [key.name for keys in declared_keys().values() for key in keys]
    assert sorted(rows) == sorted(declared)
