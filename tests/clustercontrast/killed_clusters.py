"""Script that test_training.py starts: ``killed_clusters.py FOLDER PLACE``; dies by SIGKILL.

PLACE is extraction, clustering or training, of the second epoch.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import reid_core  # noqa: F401  (first: repairs FastReID)
from clustercontrast.data.images import CommDataset
from clustercontrast.engine import pseudo_labels
from small_clusters import small_cluster_cfg, start


def dying(function: Any, when: Any) -> Any:
    """A function that ends the process where ``when()``."""

    def call(*args: Any, **kwargs: Any) -> Any:
        if when():
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)

    return call


if __name__ == "__main__":
    trainer = start(small_cluster_cfg(Path(sys.argv[1])))
    place = sys.argv[2]

    def second() -> bool:
        return getattr(trainer, "epoch", 0) == 1

    if place == "extraction":
        CommDataset.__getitem__ = dying(CommDataset.__getitem__, second)
    elif place == "clustering":
        pseudo_labels.close_pairs = dying(pseudo_labels.close_pairs, second)
    else:
        trainer.run_step = dying(trainer.run_step, lambda: trainer.iter == 4)
    trainer.train()
