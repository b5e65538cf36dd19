"""Names of data sets in configs: "Market1501", or with an argument, "FolderReID:/data/shop".

What follows the first colon is handed to the data set's class as ``argument="/data/shop"``. A class
takes one if its constructor has a parameter ``argument`` (without a default: it needs one). Three
attributes of a class, all optional, say more:

``argument_example``: a name with an argument, for messages;
``argument_name(argument)``, a static method: the ``dataset_name`` of the set with that argument,
under which its identities and cameras are known; without it all arguments share the class's
``dataset_name``, as parts of one data set do;
``result_name(root)``, a class method: name in tables of results, where it depends on the files.

Behind any name may stand a number of identities, "Market1501:identities=200", and cameras,
"Market1501:cameras=1-4": see :mod:`.thinning`. Such a set has the name of the whole one, and its
numbers of identities and cameras.
"""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fastreid.data.datasets import DATASET_REGISTRY
from reid_common.errors import UserError

from ..config.values import check_choice
from .thinning import split_thinning


def split_name(name: str) -> tuple[str, str | None]:
    """Split "FolderReID:/data/shop" into registered name and argument, None without a colon.

    How the set is thinned is left out.
    """
    registered, colon, argument = split_thinning(name)[0].partition(":")
    return registered, argument if colon else None


def dataset_class(name: str, key: str = "data set") -> Any:
    """Return the registered class of a data set's name, which ``key`` holds.

    Raises:
        UserError: none is registered, or it takes no argument that the name has, or lacks one.
    """
    registered, argument = split_name(name)
    check_choice(key, registered, DATASET_REGISTRY._obj_map)
    cls = DATASET_REGISTRY.get(registered)
    parameter = inspect.signature(cls).parameters.get("argument")
    example = getattr(cls, "argument_example", f"{registered}:ARGUMENT")
    if argument is not None and parameter is None:
        raise UserError(
            f"data set {name!r}: {registered} takes no argument; write {registered!r}, or "
            f"{registered + ':identities=200'!r} for 200 of its identities, or "
            f"{registered + ':cameras=1-4'!r} to keep these cameras"
        )
    if parameter is not None and parameter.default is parameter.empty and not argument:
        raise UserError(f"data set {name!r}: {registered} needs an argument, as in {example!r}")
    if argument == "":
        raise UserError(f"data set {name!r} ends in a colon; leave it out, or write {example!r}")
    return cls


def dataset_name(name: str) -> str:
    """Return the ``dataset_name`` of a registered data set ("Market1501" gives "market1501").

    With an argument it is what the class's ``argument_name`` says ("FolderReID:/data/shop" gives
    "shop"). A name that is not registered, or a class without a ``dataset_name``, gives the name.
    """
    registered, argument = split_name(name)
    cls = DATASET_REGISTRY._obj_map.get(registered)
    if argument and hasattr(cls, "argument_name"):
        return str(cls.argument_name(argument))
    return getattr(cls, "dataset_name", None) or name


def result_name(name: str, root: str) -> str:
    """Name of a data set of ``root`` in tables of results: "shop", "MSMT17_V1", "Market1501"."""
    registered, argument = split_name(name)
    cls = DATASET_REGISTRY._obj_map.get(registered)
    whole, _ = split_thinning(name)
    thinned = name[len(whole) :]
    if argument and hasattr(cls, "argument_name"):
        return str(cls.argument_name(argument)) + thinned
    by_files = getattr(cls, "result_name", None)
    return str(by_files(root)) + thinned if by_files else name


def name_of_path(path: str) -> str:
    """Return the ``dataset_name`` of a folder or file: its stem in lower case.

    Whatever stands in another meaning elsewhere (``:`` and ``,`` in DATASETS.CAMERAS, spaces)
    becomes an underscore: "/data/My Shop.csv" gives "my_shop".
    """
    stem = Path(os.path.abspath(os.path.expanduser(path))).stem.lower()
    return re.sub(r"[^\w.-]+", "_", stem) or "_"


def check_distinct(names: Iterable[str]) -> None:
    """Check that different training sets do not share a name for their identities.

    Raises:
        UserError: two files or folders of one stem: identity 1 of both would be one person.
    """
    known: dict[str, str] = {}
    for name in names:
        name, _ = split_thinning(name)
        other = known.setdefault(dataset_name(name), name)
        classes = (DATASET_REGISTRY._obj_map.get(split_name(n)[0]) for n in (name, other))
        if other != name and any(hasattr(cls, "argument_name") for cls in classes):
            raise UserError(
                f"DATASETS.NAMES: {other!r} and {name!r} are both called {dataset_name(name)!r}, so"
                " that their identities would be mixed up; rename one of the two"
            )
