"""What a fix is, and how fixes are applied to the released FastReID in memory.

A fix is one small function, decorated with :func:`fix`. It looks whether the defect is there,
repairs it in the loaded modules (no file in site-packages is touched) and returns True, or
returns False when there is nothing to repair: on an old torch, or on a fork of FastReID that has
repaired it itself. :func:`replaces` makes one of a function that takes the place of another.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from reid_common.late_imports import importing_late

INSTALL_COMMAND = "pip install --no-deps fastreid==1.4.0"

# Modules that hold repairs, in the order in which they are applied: what wraps the same function
# later wraps it outside. The first must run before anything of fastreid can be imported.
BEFORE_IMPORT = ("config.stubs",)
AFTER_IMPORT = (
    "config.settings",
    "loading.batches",
    "loading.transforms",
    "data.dataset_files",
    "loading.reproducible",
    "loading.loaders",
    "training.optimizer",
    "training.fused",
    "training.step",
    "training.metrics",
    "training.schedules",
    "training.hooks",
    "checkpoints.checkpoint_files",
    "checkpoints.checkpoints",
    "training.resume",
    "training.mixed_precision",
    "modeling.losses",
    "modeling.models",
    "modeling.training_forward",
    "checkpoints.pretrained",
    "distributed.launch",
    "distributed.collectives",
    "evaluation.distances",
    "evaluation.ranking",
    "evaluation.repeated_splits",
    "loading.samplers",
)
# What FastReID imports at its top, though few functions need it; seconds, torch._dynamo included.
LATE = ("sklearn", "sklearn.metrics", "torchvision", "torchvision.transforms")
# Folders of functions that are put in the place of FastReID's.
OWN_FOLDERS = [os.path.join(os.path.dirname(os.path.abspath(__file__)), "")]


@dataclass
class Fix:
    """One defect of FastReID and its repair.

    Attributes:
        name: name of the function that repairs it.
        where: file and line in the released wheel, as in ``data/build.py:11``.
        since: what made it appear, as in ``torch 2.0`` or ``always``.
        symptom: what a user sees without the fix.
        repair: the function; returns whether it changed anything.
        package: package that it is of; only those of this one are repairs, see :func:`repairs`.
        applied: None before :func:`apply_all`, then what ``repair`` returned.
    """

    name: str
    where: str
    since: str
    symptom: str
    repair: Callable[[], bool]
    package: str
    applied: bool | None = None


FIXES: dict[str, Fix] = {}
Original = Callable[..., Any]  # the function that a repair replaces


def fix(
    *, where: str, symptom: str, since: str = "always"
) -> Callable[[Callable[[], bool]], Callable[[], bool]]:
    """Register the decorated function as the repair of one defect (see :class:`Fix`)."""

    def register(repair: Callable[[], bool]) -> Callable[[], bool]:
        name = repair.__name__
        if name in FIXES:
            raise ValueError(f"two fixes are called {name!r}; give one another name")

        @functools.wraps(repair)
        def once() -> bool:
            # Another fix may have wrapped the same function since: its source tells no more.
            return not FIXES[name].applied and repair()

        package = repair.__module__.partition(".")[0]
        FIXES[name] = Fix(name, where, since, symptom, once, package)
        return once

    return register


def repairs() -> list[Fix]:
    """The fixes of this package, in the order in which they are applied."""
    return [item for item in FIXES.values() if item.package == __package__]


def source_has(function: Any, *fragments: str) -> bool:
    """Whether every fragment stands in the source of ``function``: is the defect still there?

    A function that this package put in place never has FastReID's fragment, which is what makes the
    fixes idempotent. Without source code (a compiled fork) the answer is False.
    """
    code = getattr(function, "__code__", None)
    if code is not None and os.path.abspath(code.co_filename).startswith(tuple(OWN_FOLDERS)):
        return False  # ours; getsource would follow ``__wrapped__`` to the function it repairs
    try:
        source = inspect.getsource(function)
    except (OSError, TypeError):
        return False
    return all(fragment in source for fragment in fragments)


def rebind(old: Any, new: Any) -> None:
    """Replace ``old`` by ``new`` in every loaded fastreid module that holds it under any name.

    ``from x import y`` copies the reference, so that replacing ``x.y`` alone leaves the copies
    broken.
    """
    for module_name, module in list(sys.modules.items()):
        if module is None or module_name.split(".")[0] != "fastreid":
            continue
        for name, value in list(vars(module).items()):
            if value is old:
                setattr(module, name, new)


def replace(old: Any, new: Any, *fragments: str) -> bool:
    """Rebind ``old`` to ``new`` if :func:`source_has` the fragments; return whether it does."""
    broken = source_has(old, *fragments)
    if broken:
        rebind(old, new)
    return broken


def replaces(owner: Any, name: str, *fragments: str) -> Callable[[Original], Callable[[], bool]]:
    """Make a repair of a function that takes the place of another, below :func:`fix`.

    The decorated function is called with the one it replaces, then with what that would get.

    Args:
        owner: module, in which case all copies of the function are replaced, or class.
        name: of the function in it.
        fragments: see :func:`source_has`, of the released function below other repairs; without any
            it is replaced in any case.
    """

    def decorate(function: Original) -> Callable[[], bool]:
        @functools.wraps(function)
        def repair() -> bool:
            original = getattr(owner, name)
            if fragments and not source_has(inspect.unwrap(original), *fragments):
                return False

            @functools.wraps(original)
            def replacement(*args: Any, **kwargs: Any) -> Any:
                return function(original, *args, **kwargs)

            if inspect.ismodule(owner):
                rebind(original, replacement)
            else:
                setattr(owner, name, replacement)
            return True

        return repair

    return decorate


def apply_all() -> list[Fix]:
    """Apply every fix that is needed; a second call does nothing.

    Returns:
        All fixes, with ``applied`` filled in.

    Raises:
        ImportError: fastreid is not installed; the message holds the command that installs it.
    """
    if importlib.util.find_spec("fastreid") is None:
        raise ImportError(
            f"FastReID is not installed. Install it with: {INSTALL_COMMAND}\n"
            "(--no-deps because its pins of 2022, torch 1.13.1 among them, cannot be met any more)"
        )
    apply_modules(f"{__package__}.repairs", BEFORE_IMPORT)
    with importing_late(LATE, rebind):
        importlib.import_module("fastreid.engine")
        importlib.import_module("fastreid.modeling")
    apply_modules(f"{__package__}.repairs", AFTER_IMPORT)
    return list(FIXES.values())


def apply_modules(package: str, modules: Sequence[str]) -> None:
    """Import modules of a package that hold fixes, and apply those that are new.

    A package that builds on this one adds its own features to FastReID in the same way.
    """
    folder = os.path.dirname(os.path.abspath(str(importlib.import_module(package).__file__)))
    if os.path.join(folder, "") not in OWN_FOLDERS:
        OWN_FOLDERS.append(os.path.join(folder, ""))
    for module in modules:
        importlib.import_module(f"{package}.{module}")
    for item in FIXES.values():
        if item.applied is None:
            item.applied = item.repair()
