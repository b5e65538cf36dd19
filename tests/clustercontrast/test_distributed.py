"""Two real processes on the CPU share extraction and batches; the result is that of one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch
from small_clusters import train_together, write_persons

SCRIPT = Path(__file__).with_name("two_clusters.py")


def test_two_processes_equal_one(tmp_path, monkeypatch) -> None:
    """Labels, memory, weights and BatchNorm's statistics after two epochs."""
    write_persons(tmp_path / "data")
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path / "data"))
    train_together(1, str(tmp_path / "one"))
    unset = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    environment = {k: v for k, v in os.environ.items() if k not in unset} | {
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(tmp_path / "two")],
        env=environment, capture_output=True, text=True, timeout=900,
    )  # fmt: skip
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
