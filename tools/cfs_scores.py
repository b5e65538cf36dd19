#!/usr/bin/env python3
"""Catastrophic forgetting scores: score a data set, look at the scores, choose the best images.

python tools/cfs_scores.py score --source-weights dino/teacher_backbone.pth \
    --target-weights finetuned/model_final.pth --config-file projects/DINOPretrain/configs/....yml \
    --target-config-file projects/TransReID/configs/....yml --dataset LUPerson --out scores/
python tools/cfs_scores.py inspect --scores scores/
python tools/cfs_scores.py plot --scores scores/ --target-images Market1501 --out pictures/
python tools/cfs_scores.py select --scores scores/ --keep 0.5 --out CFS_list.pkl

A high score says that training on the target moved an image little: it is close to the target.
Kill scoring at any time: the same command goes on. torchrun shares the work among processes and
machines.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

PARENT = os.getppid()  # before the imports: they take seconds, in which it may die

from reid_common.processes import end_with_parent  # noqa: E402


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    if "LOCAL_RANK" in os.environ:
        # torchrun gives each worker a session of its own: killed, it would leave them behind with
        # their locks.
        end_with_parent(PARENT)
    from reid_commands import scores

    return scores.main(argv, description=__doc__)


if __name__ == "__main__":
    sys.exit(main())
