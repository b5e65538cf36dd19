"""Script that test_distributed.py starts: ``two_clusters.py PROCESSES FOLDER``."""

from __future__ import annotations

import sys
from pathlib import Path

import reid_core  # noqa: F401  (first: repairs FastReID)
from fastreid.engine import launch
from small_clusters import small_cluster_cfg, start


def main(processes: int, folder: str) -> None:
    # A process of two has the part of a batch that is a group in one; no drop path, whose draws
    # are a process's own.
    options = (
        "MODEL.BACKBONE.DROP_PATH_RATIO",
        0.0,
        "CLUSTER.BN_GROUP",
        4 if processes == 1 else 0,
    )
    cfg = small_cluster_cfg(Path(folder), options)
    cfg.TEST.EVAL_PERIOD, cfg.CLUSTER.REPORT_PERIOD = 0, 0
    start(cfg).train()


if __name__ == "__main__":
    number = int(sys.argv[1])
    launch(main, number, dist_url="auto", args=(number, sys.argv[2]))
