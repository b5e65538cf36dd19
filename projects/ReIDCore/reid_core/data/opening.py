"""Open a registered data set; what a run opens once and keeps is in ``opened_sets.py``."""

from __future__ import annotations

import os
import warnings
from typing import Any

from reid_common.errors import UserError

from .names import dataset_class, split_name
from .thinning import split_thinning, thin

MSMT17 = (
    "MSMT17_V1/{train,test,list_train.txt,list_val.txt,list_query.txt,list_gallery.txt}, or "
    "MSMT17_V2 with mask_train_v2 and mask_test_v2"
)
LAYOUTS = {
    "Market1501": "Market-1501-v15.09.15/{bounding_box_train,query,bounding_box_test}/*.jpg",
    "DukeMTMC": "DukeMTMC-reID/{bounding_box_train,query,bounding_box_test}/*.jpg",
    "MSMT17": MSMT17,
    "MSMT17TrainVal": MSMT17,
    "OccludedDuke": "Occluded_Duke/{bounding_box_train,query,bounding_box_test}/*.jpg",
    "VeRi": "veri/{image_train,image_query,image_test}/*.jpg",
    "VehicleID": "vehicleid/{image/*.jpg,train_test_split/*.txt}",
}


class MissingDataset(UserError):
    """A data set is not where it is looked for."""


def data_root() -> str:
    """Return the folder of all data sets: $FASTREID_DATASETS as it is now, or ``datasets``."""
    return os.getenv("FASTREID_DATASETS", "datasets")


def open_dataset(name: str, root: str | None = None, **kwargs: Any) -> Any:
    """Open a registered data set.

    Args:
        name: as in DATASETS.NAMES: name in the registry, with ":argument" where it takes one, and
            ":identities=200" or ":cameras=1-4" for some of its images.
        root: folder of all data sets; None: :func:`data_root`.
        **kwargs: handed to the class, as in ``combineall=True``.

    Raises:
        UserError: see :func:`.names.dataset_class`.
        MissingDataset: its files are not there.
    """
    dataset = dataset_class(name)
    registered, argument = split_name(name)
    root = data_root() if root is None else root
    if argument is not None:
        kwargs["argument"] = argument
    _, thinning = split_thinning(name)
    combine = thinning is not None and kwargs.pop("combineall", False)
    try:
        with warnings.catch_warnings(record=True) as caught:
            data = dataset(root=root, **kwargs)
    except (RuntimeError, AssertionError, FileNotFoundError) as error:
        if not isinstance(error, FileNotFoundError) and "not found" not in str(error):
            raise
        layout = LAYOUTS.get(registered) or getattr(dataset, "dataset_dir", "") or "its folders"
        raise MissingDataset(
            f"data set {name} is not complete in {os.path.abspath(root)!r} ({error});"
            f" set FASTREID_DATASETS to the folder that holds {layout}"
        ) from error
    if thinning is not None:
        thin(data, name, thinning)
    if combine:
        data.combine_all()
        data.data = getattr(data, data.mode)
    for warning in caught:  # only now: of a missing data set one message is enough
        warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    return data


def find_path(argument: str, root: str, example: str) -> str:
    """Return the file or folder that a data set's argument names: as given, else in ``root``.

    Raises:
        MissingDataset: it is in neither place.
    """
    given = os.path.expanduser(argument)
    for path in (given, os.path.join(root, given)):
        if os.path.exists(path):
            return path
    second = "" if os.path.isabs(given) else f", nor {os.path.join(os.path.abspath(root), given)!r}"
    raise MissingDataset(f"there is no {given!r}{second}; give the path of {example}")
