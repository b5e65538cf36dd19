"""Occluded-Duke: DukeMTMC-reID's images, split so that every query is occluded.

Miao et al., "Pose-Guided Feature Alignment for Occluded Person Re-Identification", ICCV 2019:
15,618 training images of 702 identities, 2,210 queries and 17,661 gallery images, 8 cameras. Files
are named as DukeMTMC-reID's, ``0001_c2_f0046302.jpg``.
"""

from __future__ import annotations

import os
from typing import Any

from fastreid.data.datasets import DATASET_REGISTRY
from fastreid.data.datasets.dukemtmcreid import DukeMTMC

# What the authors' script, the released TransReID and others call the folder.
FOLDERS = ("Occluded_Duke", "Occluded-DukeMTMC-Dataset", "Occluded-Duke", "Occluded-DukeMTMC")


@DATASET_REGISTRY.register()
class OccludedDuke(DukeMTMC):
    """Occluded-Duke in one of :data:`FOLDERS`, with bounding_box_train, query, bounding_box_test.

    Raises:
        RuntimeError: a folder is not there, of which ``open_dataset`` makes a MissingDataset.
    """

    dataset_dir = FOLDERS[0]
    dataset_name = "occludedduke"

    def __init__(self, root: str = "datasets", **kwargs: Any) -> None:
        found = (name for name in FOLDERS if os.path.isdir(os.path.join(root, name)))
        self.dataset_dir = next(found, FOLDERS[0])
        super().__init__(root, **kwargs)
