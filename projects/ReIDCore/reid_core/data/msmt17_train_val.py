"""MSMT17 with its validation images in the training set, as most published results have it.

FastReID's MSMT17 trains on list_train.txt alone, 30,248 images; DATASETS.COMBINEALL would add the
test images as well.
"""

from __future__ import annotations

from typing import Any

from fastreid.data.datasets import DATASET_REGISTRY
from fastreid.data.datasets.msmt17 import MSMT17


@DATASET_REGISTRY.register()
class MSMT17TrainVal(MSMT17):
    """list_train.txt and list_val.txt: 32,621 images of 1,041 identities; tests are MSMT17's.

    Raises:
        AssertionError: the folder is not there, of which ``open_dataset`` makes a MissingDataset.
    """

    def __init__(self, root: str = "datasets", *, combineall: bool = False, **kwargs: Any) -> None:
        super().__init__(root, combineall=combineall, **kwargs)
        if not combineall:  # which has them already
            self._train = [*self.train, *self.process_dir(self.train_dir, self.list_val_path)]
            self.data = getattr(self, self.mode)
