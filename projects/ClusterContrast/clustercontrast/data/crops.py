"""Images without any labels: ``DATASETS.NAMES ("Crops:/my/crops",)``.

::

    crops/door/0001.jpg       a folder is a camera; its name is any text
    crops/hall/day2/0002.png  folders within it say nothing
    crops/c3_000451.jpg       without a folder: the number in "c3", or no camera

For training only: what may be searched or tested later needs identities, and a data set of
:mod:`reid_core.data.folder_reid` or :mod:`reid_core.data.csv_reid`.
"""

from __future__ import annotations

import os
from typing import Any

from fastreid.data.datasets import DATASET_REGISTRY
from reid_common.errors import UserError
from reid_core.data.folder_reid import camera_of, image_files
from reid_core.data.names import name_of_path
from reid_core.data.opening import MissingDataset, find_path
from reid_core.data.records import TRAIN, Record, RecordDataset

NOBODY = "unknown"  # the identity of all images


@DATASET_REGISTRY.register()
class Crops(RecordDataset):
    """All images below a folder; the module's docstring shows the tree.

    ``argument`` is the folder, as given or within ``root``, the folder of all data sets.

    Raises:
        MissingDataset: the folder is not there, or has no images.
        UserError: it is a file.
    """

    argument_example = "Crops:/data/crops"
    argument_name = staticmethod(name_of_path)

    def __init__(self, root: str = "datasets", *, argument: str, **kwargs: Any) -> None:
        self.dataset_dir = folder = find_path(argument, root, "a folder of images")
        if not os.path.isdir(folder):
            raise UserError(f"Crops: {folder!r} is a file; name the folder that the images are in")
        records = [
            Record(os.path.join(folder, *names), NOBODY, TRAIN, camera_of(names))
            for names in image_files(folder)
        ]
        if not records:
            raise MissingDataset(f"Crops: {folder!r} has no images in it; name another folder")
        super().__init__(name_of_path(argument), records, **kwargs)
