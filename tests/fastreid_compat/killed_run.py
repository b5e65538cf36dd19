"""Script that test_resume.py starts: ``killed_run.py {step,write} NUMBER FOLDER``.

It trains with SEED 5 in FOLDER and ends by SIGKILL: before the step NUMBER (0-based, over all
epochs), or when half of the checkpoint NUMBER (1-based) is written.
"""

from __future__ import annotations

import argparse
import io
import itertools
import os
import signal
import sys
from pathlib import Path
from typing import IO, Any

import fastreid_compat  # noqa: F401  (first: makes fastreid importable)
import torch
from fastreid.engine import default_setup
from fastreid.engine.train_loop import HookBase
from small_trainer import small_cfg
from test_resume import ShuffledTrainer


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class DieBefore(HookBase):
    """Dies before the step ``number``."""

    def __init__(self, number: int) -> None:
        self.number = number

    def before_step(self) -> None:
        if self.trainer.iter == self.number:
            die()


def die_in_write(number: int) -> None:
    """Let the call ``number`` of torch.save write half of its file and die."""
    save, calls = torch.save, itertools.count(1)

    def save_or_die(content: Any, file: IO[bytes]) -> None:
        if next(calls) < number:
            save(content, file)
            return
        whole = io.BytesIO()
        save(content, whole)
        file.write(whole.getvalue()[: len(whole.getvalue()) // 2])
        file.flush()
        die()

    torch.save = save_or_die


if __name__ == "__main__":
    how, number, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    torch.set_num_threads(int(sys.argv[4]))
    cfg = small_cfg(folder)
    cfg.SEED = 5
    default_setup(cfg, argparse.Namespace())
    trainer = ShuffledTrainer(cfg)
    if how == "step":
        trainer.register_hooks([DieBefore(number)])
    else:
        die_in_write(number)
    trainer.train()
