"""Two real processes on the CPU share extraction and batches; the result is that of one."""

from __future__ import annotations

from pathlib import Path

import torch
from python_forks import run_together
from small_clusters import train_together, write_persons

SCRIPT = Path(__file__).with_name("two_clusters.py")


def test_two_processes_equal_one(tmp_path, monkeypatch) -> None:
    """Labels, memory, weights and BatchNorm's statistics after two epochs."""
    write_persons(tmp_path / "data")
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path / "data"))
    train_together(1, str(tmp_path / "one"))
    done = run_together(2, SCRIPT, tmp_path / "two")
    assert done.returncode == 0, done.stderr
    one, two = (
        torch.load(tmp_path / name / "model_final.pth", weights_only=False)
        for name in ("one", "two")
    )
    labels, memory = ([x["pseudo_labels"][k] for x in (one, two)] for k in ("labels", "memory"))
    assert torch.equal(*labels)
    torch.testing.assert_close(*memory, rtol=0, atol=1e-4)
    for name, value in one["model"].items():
        torch.testing.assert_close(two["model"][name], value, rtol=0, atol=1e-4)
