"""Two real processes on the CPU: they share the extraction, the figures are those of one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from python_forks import run, run_together

SCRIPT = Path(__file__).with_name("two_processes.py")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("two")
    together, alone = run_together(2, SCRIPT, folder), run(SCRIPT, folder)
    assert together.returncode == alone.returncode == 0, together.stderr + alone.stderr
    return folder


def read(folder: Path, name: str) -> dict:
    return json.loads((folder / f"{name}.json").read_text())


@pytest.mark.parametrize("way", ["plain", "reranked"])
def test_figures_are_those_of_one_process(way, folder) -> None:
    first, second, single = (read(folder, name)[way] for name in ("rank0", "rank1", "single"))
    assert first["results"] == pytest.approx(single["results"], abs=1e-4)
    assert first["results"]["mAP"] > 0
    assert second["results"] == {}
    assert single["remaining"] == 21


def test_both_go_on_where_they_were(folder) -> None:
    """The first process has the images 0..10, the second 11..20, of which 11..16 were extracted."""
    assert read(folder, "rank0")["plain"]["remaining"] == 0
    assert read(folder, "rank1")["plain"]["remaining"] == 4
    assert not (folder / "plain/features").exists()


def test_a_process_may_have_nothing_to_send(folder) -> None:
    assert read(folder, "rank0")["gathered"] == [[1.0, 1.0]]
    assert read(folder, "rank1")["gathered"] is None


def test_the_results_file_has_all_images_in_order(folder) -> None:
    with np.load(folder / "plain/results_two.npz") as file:
        assert file["paths"].tolist() == [f"{index}.jpg" for index in range(21)]
        assert file["pids"].tolist() == [index % 4 for index in range(21)]
