"""Modules that are imported when something is first asked of them: a refused config needs none."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any


class LateModule(ModuleType):
    """Stands for a module until something is asked of it; ``__name__`` asks for nothing.

    Args:
        name: of the module.
        loaded: called once with this object and the module, when that is imported.
    """

    def __init__(self, name: str, loaded: Callable[[Any, ModuleType], None] | None = None) -> None:
        super().__init__(name)
        self._loaded = loaded

    def __getattr__(self, name: str) -> Any:
        if sys.modules.get(self.__name__) is self:  # see importing_late
            raise AttributeError(f"{self.__name__!r} is not imported yet, and has no {name!r} here")
        module = importlib.import_module(self.__name__)
        loaded, self._loaded = self._loaded, None
        if loaded is not None:
            loaded(self, module)
        return getattr(module, name)


@contextlib.contextmanager
def importing_late(
    names: tuple[str, ...], loaded: Callable[[Any, ModuleType], None] | None = None
) -> Iterator[None]:
    """Let modules that are imported inside hold a :class:`LateModule` for each of some modules.

    They stand in ``sys.modules`` inside only: who imports one of these modules afterwards gets the
    module itself. What is imported already or not installed is left as it is.

    Args:
        names: full names, a package before its submodules.
        loaded: see :class:`LateModule`.
    """
    late: dict[str, LateModule] = {}
    for name in names:
        package, _, child = name.rpartition(".")
        absent = name in sys.modules or (package and package not in late)
        if absent or (not package and importlib.util.find_spec(name) is None):
            continue
        late[name] = LateModule(name, loaded)
        if package:
            setattr(late[package], child, late[name])
    sys.modules.update(late)
    try:
        yield
    finally:
        for name in late:
            del sys.modules[name]
        for name in late:  # submodules of the package itself, from here on
            package, _, child = name.rpartition(".")
            if package:
                delattr(late[package], child)
