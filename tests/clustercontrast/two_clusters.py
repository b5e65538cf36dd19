"""Script that test_distributed.py starts: ``two_clusters.py FOLDER``; trains in two processes."""

from __future__ import annotations

import sys

import reid_core  # noqa: F401  (first: repairs FastReID)
from fastreid.engine import launch
from small_clusters import train_together

if __name__ == "__main__":
    launch(train_together, 1, args=(2, sys.argv[1]))
