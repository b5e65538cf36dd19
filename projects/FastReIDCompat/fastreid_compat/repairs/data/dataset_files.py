"""Data sets on disk: the order of their images, and how file names are read."""

from __future__ import annotations

import inspect
import os
import random
import re
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

from fastreid.data.datasets import bases, vehicleid
from reid_common.errors import UserError

from ...registry import fix, source_has


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
