"""Two gloo processes: the first measures and writes, both train on the same; errors reach both."""

from __future__ import annotations

import json
from pathlib import Path

from python_forks import run_together

SCRIPT = Path(__file__).parent / "two_filters.py"


def two_processes(pool: Path, out: Path, min_height: int) -> list[dict]:
    out.mkdir()
    done = run_together(2, SCRIPT, pool, out, min_height)
    assert done.returncode == 0, done.stderr
    return [json.loads((out / f"rank{rank}.json").read_text()) for rank in (0, 1)]


def test_the_first_process_measures_for_both(pool, tmp_path) -> None:
    (pool / "10.png").write_bytes((pool / "04.png").read_bytes())
    first, second = two_processes(pool, tmp_path / "out", 64)
    assert first["names"] == second["names"] == [f"{number:02d}.png" for number in range(10)]
    assert (first["measured"], second["measured"]) == (22, 0)
    assert json.loads((tmp_path / "out/filters_summary.json").read_text())["kept"] == 10


def test_an_error_of_the_first_is_that_of_both(pool, tmp_path) -> None:
    first, second = two_processes(pool, tmp_path / "out", 65)
    assert first["error"] == second["error"]
    assert "leaves none of the 10 training images" in first["error"]
