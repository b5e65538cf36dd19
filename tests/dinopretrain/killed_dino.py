"""Script that test_training.py starts: trains POOL into FOLDER, dies by SIGKILL in step NUMBER."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import fastreid_compat  # noqa: F401  (first: makes fastreid importable)
from small_dino import small_dino_cfg, start

if __name__ == "__main__":
    trainer = start(small_dino_cfg(Path(sys.argv[1]), Path(sys.argv[2])))
    step = trainer.run_step

    def run_step() -> None:
        if trainer.iter == int(sys.argv[3]):
            os.kill(os.getpid(), signal.SIGKILL)
        step()

    trainer.run_step = run_step
    trainer.train()
