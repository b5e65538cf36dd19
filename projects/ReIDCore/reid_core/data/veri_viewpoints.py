"""Viewpoints of VeRi-776, which TransReID's vehicle models embed (8 of them).

The data set has none. Source: Wang et al., "Orientation Invariant Feature Embedding and Spatial
Temporal Regularization for Vehicle Re-identification", ICCV 2017, whose keypoint files (repository
VehicleReIDKeyPointData) have one line an image: its path, the 20 keypoints as x and y, and the
viewpoint: 0 front, 1 rear, 2 left, 3 left front, 4 left rear, 5 right, 6 right front, 7 right rear.
Put ``keypoint_train.txt`` and ``keypoint_test.txt`` into ``veri/``, or the repository's folder.

FastReID's class ``VeRi`` is given a ``viewpoint`` method, so that it stays the registered one.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from fastreid.data.datasets.veri import VeRi
from reid_common.errors import UserError

logger = logging.getLogger(__name__)

NUM_VIEWS = 8
FILES = ("keypoint_train.txt", "keypoint_test.txt")  # the second has the queries, too
FOLDERS = "VehicleReIDKeyPointData*"


def read_keypoint_file(path: Path) -> dict[str, int]:
    """Viewpoint (0..7) of each image of a keypoint file, by file name.

    Raises:
        UserError: a line without a path in front or without a viewpoint at its end.
    """
    views: dict[str, int] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        fields = line.split()
        if not fields:
            continue
        view = fields[-1]
        if len(fields) < 2 or not view.isdecimal() or int(view) >= NUM_VIEWS:
            raise UserError(
                f"{path}, line {number}: {line[-40:]!r} does not end in a viewpoint, 0 to "
                f"{NUM_VIEWS - 1}; write the image's path, its keypoints and the viewpoint"
            )
        views[os.path.basename(fields[0].replace("\\", "/"))] = int(view)
    return views


def _views_of(data: Any) -> dict[str, int]:
    """Viewpoints by file name, read once for an opened data set.

    The files are in VeRi's folder, or below a folder of their repository's name in it.
    """
    if not hasattr(data, "_views"):
        folder, missing = Path(data.dataset_dir), []
        data._views = {}
        for name in FILES:
            places = [folder / name, *sorted(folder.glob(f"{FOLDERS}/**/{name}"))]
            files = [place for place in places if place.is_file()][:1]
            missing += [] if files else [name]
            for file in files:
                data._views.update(read_keypoint_file(file))
        logger.info("VeRi: viewpoints of %d images, from %s", len(data._views), folder)
        if missing:
            logger.info("VeRi: no %s in %s: no viewpoint there", " and ".join(missing), folder)
    return data._views


def viewpoint(self: VeRi, img_path: str) -> int:
    """Viewpoint of an image, 0..7; -1 where the keypoint files do not name it."""
    return _views_of(self).get(os.path.basename(img_path), -1)


VeRi.viewpoint = viewpoint
VeRi.num_views = NUM_VIEWS
VeRi.viewpoint_source = f"{' and '.join(FILES)} (of the repository VehicleReIDKeyPointData)"
