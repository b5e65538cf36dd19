"""Data sets on disk: where they are, in which order their images come, how file names are read."""

from __future__ import annotations

import inspect
import os
import random
import re
import sys
import warnings
from types import ModuleType, SimpleNamespace
from typing import Any

from fastreid.data.datasets import bases, vehicleid
from reid_common.errors import UserError
from reid_core.data.names import dataset_class, dataset_name, split_name

from ...registry import fix, source_has

LAYOUTS = {
    "Market1501": "Market-1501-v15.09.15/{bounding_box_train,query,bounding_box_test}/*.jpg",
    "DukeMTMC": "DukeMTMC-reID/{bounding_box_train,query,bounding_box_test}/*.jpg",
    "MSMT17": "MSMT17_V1/{train,test,list_train.txt,list_val.txt,list_query.txt,list_gallery.txt},"
    " or MSMT17_V2 with mask_train_v2 and mask_test_v2",
    "OccludedDuke": "Occluded_Duke/{bounding_box_train,query,bounding_box_test}/*.jpg",
    "VeRi": "veri/{image_train,image_query,image_test}/*.jpg",
    "VehicleID": "vehicleid/{image/*.jpg,train_test_split/*.txt}",
}


__all__ = ["MissingDataset", "data_root", "dataset_class", "dataset_name", "open_dataset"]


class MissingDataset(UserError):
    """A data set is not where it is looked for."""


def data_root() -> str:
    """Return the folder of all data sets: $FASTREID_DATASETS as it is now, or ``datasets``."""
    return os.getenv("FASTREID_DATASETS", "datasets")


def open_dataset(name: str, root: str | None = None, **kwargs: Any) -> Any:
    """Open a registered data set.

    Args:
        name: as in DATASETS.NAMES: name in the registry, with ":argument" where it takes one.
        root: folder of all data sets; None: :func:`data_root`.
        **kwargs: handed to the class, as in ``combineall=True``.

    Raises:
        UserError: no data set of that name is registered, or it takes no argument, or needs one.
        MissingDataset: its files are not there.
    """
    dataset = dataset_class(name)
    registered, argument = split_name(name)
    root = data_root() if root is None else root
    if argument is not None:
        kwargs["argument"] = argument
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
    for warning in caught:  # only now: of a missing data set one message is enough
        warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    return data


def find_path(argument: str, root: str, example: str) -> str:
    """Return the file or folder that a data set's argument names.

    Args:
        argument: path; ``~`` is the home folder. One that does not exist as given (from the
            working directory) is looked for in ``root``.
        root: folder of all data sets.
        example: what a right path looks like, for the message.

    Raises:
        MissingDataset: it is in neither place.
    """
    given = os.path.expanduser(argument)
    for path in (given, os.path.join(root, given)):
        if os.path.exists(path):
            return path
    second = "" if os.path.isabs(given) else f", nor {os.path.join(os.path.abspath(root), given)!r}"
    raise MissingDataset(f"there is no {given!r}{second}; give the path of {example}")


class _Ordered(list[Any]):
    """Items that have been sorted."""


def _ordered(attribute: str) -> property:
    def items(self: bases.Dataset) -> list[Any]:
        found = getattr(self, attribute)
        if not isinstance(found, _Ordered):
            found = found() if callable(found) else found
            found = _Ordered(sorted(found, key=lambda item: str(item[0])))
            setattr(self, attribute, found)
        return found

    return property(items, doc=f"Items of {attribute.strip('_')}, sorted by path.")


@fix(
    where="data/datasets/bases.py:57-72",
    since="always",
    symptom="the order of images, thus batches and ties in a ranking, differs between machines",
)
def image_order() -> bool:
    """Sort the items of every data set by path; glob lists files in the file system's order."""
    if not source_has(bases.Dataset.train.fget, "self._train = self._train()"):
        return False
    for name in ("train", "query", "gallery"):
        setattr(bases.Dataset, name, _ordered(f"_{name}"))
    return True


class _FileNamePattern:
    """A compiled pattern that is searched in the file's name, not in the whole path."""

    def __init__(self, pattern: re.Pattern[str]) -> None:
        self.pattern = pattern

    def search(self, path: str) -> re.Match[str]:
        match = self.pattern.search(os.path.basename(path))
        if match is None:
            raise UserError(
                f"image {path!r} is not named as the images of its data set are"
                f" (pattern {self.pattern.pattern}); rename it or move it elsewhere"
            )
        return match


def _compile(pattern: str, flags: int = 0) -> _FileNamePattern:
    return _FileNamePattern(re.compile(pattern, flags))


@fix(
    where="data/datasets/market1501.py:78, dukemtmcreid.py:62, veri.py:59, cuhk_sysu.py:53",
    since="always",
    symptom="under a folder such as run-1_c3 every image gets that person and camera, silently",
)
def file_names() -> bool:
    """Match the patterns of file names on the file's name, where they are matched on the path."""
    changed = False
    for module in _dataset_modules():
        if getattr(module, "re", None) is re and _has_source(module, "pattern.search(img_path)"):
            module.re = SimpleNamespace(compile=_compile)  # type: ignore[attr-defined]
            changed = True
    return changed


@fix(
    where="data/datasets/vehicleid.py:70",
    since="always",
    symptom="VehicleID: another query and gallery in every run and on every rank",
)
def vehicleid_split() -> bool:
    """Split VehicleID's test images by a shuffle of fixed seed."""
    if vehicleid.random is not random:
        return False
    vehicleid.random = SimpleNamespace(shuffle=_shuffle)
    return True


def _shuffle(items: list[Any]) -> None:
    random.Random(0).shuffle(items)


def _dataset_modules() -> list[ModuleType]:
    prefix = "fastreid.data.datasets."
    return [module for name, module in list(sys.modules.items()) if name.startswith(prefix)]


def _has_source(module: ModuleType, fragment: str) -> bool:
    try:
        return fragment in inspect.getsource(module)
    except (OSError, TypeError):
        return False
