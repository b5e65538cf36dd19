"""Two real processes on the CPU share extraction and batches; the result is that of one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch
from small_clusters import write_persons

SCRIPT = Path(__file__).with_name("two_clusters.py")


def trained(processes: int, folder: Path) -> dict:
    unset = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    environment = {k: v for k, v in os.environ.items() if k not in unset} | {
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONPATH": os.pathsep.join(sys.path),
        "FASTREID_DATASETS": str(folder / "data"),
    }
    out = folder / str(processes)
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(processes), str(out)],
        env=environment, capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return torch.load(out / "model_final.pth", weights_only=False)


def test_two_processes_equal_one(tmp_path) -> None:
    """Labels, memory, weights and BatchNorm's statistics after two epochs."""
    write_persons(tmp_path / "data")
    one, two = (trained(processes, tmp_path) for processes in (1, 2))
    assert torch.equal(one["pseudo_labels"]["labels"], two["pseudo_labels"]["labels"])
    for name in ("centres", "memory"):
        torch.testing.assert_close(
            one["pseudo_labels"][name], two["pseudo_labels"][name], rtol=0, atol=1e-4
        )
    for name, value in one["model"].items():
        torch.testing.assert_close(two["model"][name], value, rtol=0, atol=1e-4, msg=name)
