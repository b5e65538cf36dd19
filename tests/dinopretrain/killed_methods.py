"""Script that test_methods.py starts: ``killed_methods.py FOLDER NUMBER``.

Trains FOLDER/pool into FOLDER/METHOD with every method, each in a process of its own that dies by
SIGKILL in step NUMBER, and prints METHOD:SIGNAL for each.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from pathlib import Path

import fastreid_compat  # noqa: F401  (first: makes fastreid importable)
from dinopretrain.methods import METHODS
from small_dino import start
from small_methods import small_method_cfg


def train_and_die(folder: Path, method: str, number: int) -> None:
    trainer = start(small_method_cfg(method, folder / "pool", folder / method))
    step = trainer.run_step

    def run_step() -> None:
        if trainer.iter == number:
            os.kill(os.getpid(), signal.SIGKILL)
        step()

    trainer.run_step = run_step
    trainer.train()


if __name__ == "__main__":
    for name in METHODS[METHODS.index("IBOT") :]:
        child = os.fork()  # which spares it the imports
        if child == 0:
            with contextlib.redirect_stdout(sys.stderr):
                train_and_die(Path(sys.argv[1]), name, int(sys.argv[2]))
            os._exit(0)
        print(f"{name}:{os.WTERMSIG(os.waitpid(child, 0)[1])}", flush=True)
