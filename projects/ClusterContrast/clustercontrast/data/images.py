"""The training images of a run, sorted by path, for extraction and for training.

Letter: N images.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from fastreid.config import CfgNode
from fastreid.data import build as data_build
from reid_core.data.tracklets import read_tracklets
from reid_core.run.image_sets import CommDataset, training_set
from torch.utils.data import Dataset


class TrainingImages:
    """All images of DATASETS.NAMES that DATASETS.FILTERS keep.

    DBSCAN's border points depend on the order of images, so that they are sorted by path.

    Attributes:
        paths: image files, N of them.
        cameras: (N,) int64, rows of the camera table; an image without a camera has a negative
            number of its own.
        camera_names: of each image, as the data set says.
        identities: (N,) int64, what the data set says, for watching only; None: it says nothing.
        tracklets: of CLUSTER.TRACKLETS; None without such a table.
    """

    def __init__(self, cfg: CfgNode) -> None:
        found = training_set(cfg, None, combineall=cfg.DATASETS.COMBINEALL)
        order = sorted(range(len(found)), key=lambda i: found.img_items[i][0])
        self._cfg = cfg
        self._items = [found.img_items[i] for i in order]
        views = found.views or [-1] * len(order)
        self._views = [views[i] for i in order]
        cameras = found.cameras or [0] * len(order)
        self.paths = [str(item[0]) for item in self._items]
        self.cameras = np.array([cameras[i] for i in order], np.int64)
        self.camera_names = [str(item[2]) for item in self._items]
        names, numbers = np.unique([str(item[1]) for item in self._items], return_inverse=True)
        self.identities = numbers.astype(np.int64) if len(names) > 1 else None
        table = cfg.CLUSTER.TRACKLETS
        self.tracklets = read_tracklets(table, self.paths) if table else None

    def __len__(self) -> int:
        return len(self.paths)

    def dataset(self, is_train: bool) -> CommDataset:
        """Data set of FastReID's samples, with the transform of training or test."""
        transform = data_build.build_transforms(self._cfg, is_train=is_train)
        cameras = self.cameras.tolist()
        return CommDataset(self._items, transform, True, cameras=cameras, views=self._views)


class PseudoLabelled(Dataset):
    """Samples whose "targets" are pseudo labels, (N,); those of no cluster are not asked for."""

    def __init__(self, images: CommDataset, labels: np.ndarray) -> None:
        self.images, self.labels, self.transform = images, labels, images.transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {**self.images[index], "targets": int(self.labels[index])}
