"""Packages that a script of the same name hides.

``python tools/cfs.py`` puts ``tools`` first where Python looks for modules, and there ``cfs`` is
the script. So it is for any other tool that imports the package, and for tests with ``tools`` on
their path.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import sys
from types import ModuleType


def load_package(name: str, folder: str | os.PathLike[str]) -> ModuleType:
    """Import a package from a folder, and take it for what ``import name`` means from now on.

    A script calls it before it imports the package. Where the script itself is imported under the
    package's name, the importer gets the package.

    Args:
        name: of a package, without dots.
        folder: that holds it.

    Raises:
        ModuleNotFoundError: it is not there.
    """
    known = sys.modules.get(name)
    if known is not None and hasattr(known, "__path__"):
        return known
    spec = importlib.machinery.PathFinder.find_spec(name, [os.fspath(folder)])
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"there is no package {name!r} in {os.fspath(folder)!r}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module
