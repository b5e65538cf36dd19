"""A picture of clusters: the largest, the smallest, those of most cameras, and outliers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from reid_common.pictures import NEUTRAL, Tile, draw_contact_sheet

from ..clustering.quality import sizes
from ..data.images import TrainingImages

ROWS, COLUMNS = 3, 12


def draw_clusters(out: Path, images: TrainingImages, labels: np.ndarray, title: str) -> None:
    """Draw some clusters, a row each, with images evenly spread over each; captions are cameras.

    Args:
        out: picture.
        images: N of them.
        labels: (N,), -1 for outliers.
        title: text on top.
    """
    found = sizes(labels)
    mixed = _cameras_of_clusters(images.cameras, labels)
    kinds = {
        "largest": np.argsort(-found, kind="stable"),
        "smallest": np.argsort(found, kind="stable"),
        "most cameras": np.lexsort((-found, -mixed)),
    }
    rows, names = [], []
    for kind, order in kinds.items():
        for cluster in order[:ROWS].tolist():
            rows.append(_tiles(images, np.flatnonzero(labels == cluster)))
            names.append(f"{kind}\n{found[cluster]} images\n{mixed[cluster]} cameras")
    outliers = np.flatnonzero(labels < 0)
    if len(outliers):
        rows.append(_tiles(images, outliers))
        names.append(f"outliers\n{len(outliers)} images")
    draw_contact_sheet(rows, out, title, names, bits=5)


def _cameras_of_clusters(cameras: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How many cameras each cluster has, (M,)."""
    pairs = np.unique(np.stack([labels, cameras], 1)[labels >= 0], axis=0)
    return np.bincount(pairs[:, 0])


def _tiles(images: TrainingImages, members: np.ndarray) -> list[Tile]:
    chosen = members[np.linspace(0, len(members) - 1, min(COLUMNS, len(members))).astype(int)]
    captions = ("?" if images.cameras[i] < 0 else f"cam {images.cameras[i] + 1}" for i in chosen)
    return [Tile(images.paths[i], c, NEUTRAL) for i, c in zip(chosen, captions, strict=True)]
