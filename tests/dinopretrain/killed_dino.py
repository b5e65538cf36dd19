"""Script that tests start: ``killed_dino.py POOL FOLDER NUMBER [METHOD]``.

Trains POOL into FOLDER, and dies by SIGKILL in step NUMBER.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import fastreid_compat  # noqa: F401  (first: makes fastreid importable)
from small_dino import small_dino_cfg, start
from small_methods import small_method_cfg

if __name__ == "__main__":
    folders = Path(sys.argv[1]), Path(sys.argv[2])
    cfg = small_method_cfg(sys.argv[4], *folders) if sys.argv[4:] else small_dino_cfg(*folders)
    trainer = start(cfg)
    step = trainer.run_step

    def run_step() -> None:
        if trainer.iter == int(sys.argv[3]):
            os.kill(os.getpid(), signal.SIGKILL)
        step()

    trainer.run_step = run_step
    trainer.train()
