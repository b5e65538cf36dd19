"""Pseudo labels as a table that ``CSVReID:`` trains on."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
from reid_common.files import replacing

from ..data.images import TrainingImages

COLUMNS = ("image", "identity", "split", "camera")


def write_pseudo_labels(out: Path, images: TrainingImages, labels: np.ndarray) -> None:
    """Write a row for each image that is in a cluster, cluster by cluster, sorted by path.

    Args:
        out: CSV; its folder is made.
        images: N of them.
        labels: (N,), -1 for outliers, which are left out.
    """
    order = np.argsort(labels, kind="stable")
    with replacing(out) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for row in order[labels[order] >= 0].tolist():
            camera = images.camera_names[row] if images.cameras[row] >= 0 else ""
            path = os.path.abspath(images.paths[row])
            writer.writerow([path, f"cluster_{labels[row]}", "train", camera])
