"""A step is the same in one piece or several, in one process or two."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from python_forks import run_together

SCRIPT = Path(__file__).parent / "two_dino.py"
DIM = 32  # of the golden run, whose batches have 4 images


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[int, str], dict]:
    """Three steps of one process and of two, in every way of two_dino.py."""
    found = {}
    for processes in (1, 2):
        folder = tmp_path_factory.mktemp(f"{processes}_processes")
        done = run_together(processes, SCRIPT, folder)
        assert done.returncode == 0, done.stderr
        for file in folder.iterdir():
            found[processes, file.stem] = torch.load(file, weights_only=True)
    return found


@pytest.mark.parametrize(
    "processes, way",
    [
        (1, "pieces1"),
        (1, "pieces3"),
        (1, "pieces3_recomputed"),
        (2, "whole"),
        (2, "pieces1"),
        (2, "pieces1_recomputed"),
    ],
)
def test_pieces_and_processes_give_the_undivided_step(results, processes: int, way: str) -> None:
    """Losses, figures, centre and parameters; pieces of 3 leave one of 1 image."""
    compare(results[processes, way], results[1, "whole"])


def test_koleo_looks_for_neighbours_in_all_processes(results) -> None:
    one, two = (results[processes, "koleo"] for processes in (1, 2))
    compare(two, one)
    difference = one["losses"][0] - results[1, "whole"]["losses"][0]
    assert abs(difference) > 0.01  # it is in the loss


def compare(other: dict, whole: dict) -> None:
    close = {"atol": 1e-5, "rtol": 1e-5}
    torch.testing.assert_close(
        torch.tensor(other["losses"]), torch.tensor(whole["losses"]), **close
    )
    figures = (torch.tensor(x["figures"]) for x in (other, whole))
    torch.testing.assert_close(*figures, atol=1e-4, rtol=1e-4)
    assert "loss.center" in whole["state"]
    for key, value in whole["state"].items():
        ours = other["state"][key]
        if key.endswith("attn.qkv.bias"):
            # The keys' bias has a gradient of 0 but for rounding: see test_trace.compare.
            value, ours = (torch.cat([x[:DIM], x[2 * DIM :]]) for x in (value, ours))
        torch.testing.assert_close(ours, value, **close, msg=key)
