"""Modules under their old names: they work for one release, with a DeprecationWarning."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import sys
import warnings
from collections.abc import Mapping, Sequence
from types import ModuleType

_NEW_NAMES: dict[str, str] = {}


class _MovedFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds a module that has moved, and puts the new one in its place."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in _NEW_NAMES:
            return None
        return importlib.machinery.ModuleSpec(fullname, self)

    def exec_module(self, module: ModuleType) -> None:
        name = module.__name__
        warnings.warn(
            f"{name} has moved to {_NEW_NAMES[name]}; the old name goes with the next release",
            DeprecationWarning,
            stacklevel=2,
        )
        sys.modules[name] = importlib.import_module(_NEW_NAMES[name])


def moved_modules(new_names: Mapping[str, str]) -> None:
    """Let modules be imported under old names, dotted and whole, in packages that exist."""
    _NEW_NAMES.update(new_names)
    if not any(isinstance(finder, _MovedFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _MovedFinder())  # before a package that has its folder's name
