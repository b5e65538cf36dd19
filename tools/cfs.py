#!/usr/bin/env python3
"""Catastrophic forgetting scores: score a data set, look at the scores, choose the best images.

python tools/cfs.py score --source-weights dino/teacher_backbone.pth \
    --target-weights finetuned/model_final.pth --config-file projects/DINOPretrain/configs/....yml \
    --target-config-file projects/TransReID/configs/....yml --dataset LUPerson --out scores/
python tools/cfs.py inspect --scores scores/
python tools/cfs.py plot --scores scores/ --target-images Market1501 --out pictures/
python tools/cfs.py select --scores scores/ --keep 0.5 --out CFS_list.pkl

A high score says that training on the target moved an image little: it is close to the target.
Kill scoring at any time: the same command goes on. torchrun shares the work among processes and
machines.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

PARENT = os.getppid()  # before the imports: they take seconds, in which it may die

from fastreid_compat.packages import load_package  # noqa: E402
from fastreid_compat.processes import end_with_parent  # noqa: E402

load_package("cfs", Path(__file__).parents[1] / "projects" / "CFS")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    if "LOCAL_RANK" in os.environ:
        # torchrun gives each worker a session of its own: killed, it would leave them behind with
        # their locks.
        end_with_parent(PARENT)
    import cfs_commands

    return cfs_commands.main(argv, description=__doc__)


if __name__ == "__main__":
    sys.exit(main())
