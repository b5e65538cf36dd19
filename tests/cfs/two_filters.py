"""Script that test_distributed.py starts: two processes filter POOL; each writes OUT/rank{N}.json.

``two_filters.py POOL OUT MIN_HEIGHT``
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import fastreid_compat  # noqa: F401  (first: makes fastreid importable)
from cfs.filters import measured_images
from dinopretrain.data.loader import training_images
from fastreid.engine import launch
from fastreid.utils import comm
from reid_common.errors import UserError
from reid_core.config import load_config


def main(pool: str, out: str, min_height: str) -> None:
    cfg = load_config()
    cfg.DATASETS.NAMES = (f"ImageFolder:{pool}",)
    cfg.DATASETS.FILTERS = [
        {"NAME": "ResolutionFilter", "MIN_HEIGHT": int(min_height)},
        {"NAME": "DuplicateFilter"},
    ]
    cfg.SOLVER.IMS_PER_BATCH = 4
    cfg.OUTPUT_DIR = out
    measured, measure = [], measured_images._measure

    def count(measurement, images, index):
        measured.append(index)
        return measure(measurement, images, index)

    measured_images._measure = count
    try:
        images = training_images(cfg)
        seen = {"names": [Path(images.name(i)).name for i in range(len(images))]}
    except UserError as error:
        seen = {"error": str(error)}
    seen["measured"] = len(measured)
    (Path(out) / f"rank{comm.get_rank()}.json").write_text(json.dumps(seen))


if __name__ == "__main__":
    launch(main, 1, args=tuple(sys.argv[1:]))
