"""A data set, opened once: its images in train, query and gallery, with all that a run asks.

The checks before a run, the table of cameras and the loaders of training and test images get the
same :func:`opened_set`. One whose folders or lists have changed since is opened again.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Hashable, Sequence
from typing import Any

from .names import dataset_name
from .opening import MissingDataset, data_root, open_dataset

Item = Sequence[Any]  # (img_path, pid, camid)

UNKNOWN = -1  # a camera or a viewpoint that is not known
SPLITS = ("train", "query", "gallery")


class Split:
    """Images of one part of a data set, in FastReID's order: by path.

    Args:
        items: (img_path, pid, camid) of each image; a camera that is not known may be None.
        viewpoint: path -> viewpoint, 0-based, negative = not known; None: none is known.

    Attributes:
        items: with -1 in the place of None as camera, because FastReID sorts all cameras.
        paths: image file of each image.
        identities: of each image: a text in training ("market1501_7"), a number in testing.
        cameras: of each image, as the data set names it; ``raw_cameras`` numbers them.
    """

    def __init__(self, items: Sequence[Item], viewpoint: Callable[[str], int] | None) -> None:
        # In training FastReID's cameras are texts, as its identities are.
        none = {True: str(UNKNOWN), False: UNKNOWN}
        self.items = [
            x if x[2] is not None else (*x[:2], none[isinstance(x[1], str)]) for x in items
        ]
        self.viewpoint = viewpoint
        self.paths: list[str] = [item[0] for item in self.items]
        self.identities = [item[1] for item in self.items]
        self.cameras = [item[2] for item in self.items]

    def __len__(self) -> int:
        return len(self.items)

    @functools.cached_property
    def views(self) -> list[int]:
        """Viewpoint of each image, 0-based, negative = not known."""
        if self.viewpoint is None:
            return [UNKNOWN] * len(self.items)
        return [int(self.viewpoint(path)) for path in self.paths]


class OpenedSet:
    """A data set that has been opened.

    Args:
        name: as in DATASETS.NAMES or DATASETS.TESTS.
        data: FastReID's data set; None: it is not there, and has no images.
        missing: why it is not there.

    Attributes:
        dataset_name: name under which its identities and cameras are known: "market1501".
        variants: the same set with the labels of files, by the files and their age.
        viewpoint: path -> viewpoint; None for a data set without viewpoints.
        num_views: viewpoints that it can have, 0 where it does not say.
        viewpoint_source: where it would have its viewpoints from, "" where it does not say.
    """

    def __init__(self, name: str, data: Any, missing: MissingDataset | None = None) -> None:
        self.name, self.data, self.missing = name, data, missing
        self.dataset_name = dataset_name(name)
        self.variants: dict[Hashable, OpenedSet] = {}
        self.viewpoint: Callable[[str], int] | None = getattr(data, "viewpoint", None)
        self.num_views: int = getattr(data, "num_views", 0)
        self.viewpoint_source: str = getattr(data, "viewpoint_source", "")
        self._ages = {place: _age(place) for place in _places(data)}

    @functools.cached_property
    def train(self) -> Split:
        """Training images."""
        return self._split("train")

    @functools.cached_property
    def query(self) -> Split:
        """Query images."""
        return self._split("query")

    @functools.cached_property
    def gallery(self) -> Split:
        """Gallery images."""
        return self._split("gallery")

    @functools.cached_property
    def test(self) -> Split:
        """Query images, then gallery images."""
        return Split([*self.query.items, *self.gallery.items], self.viewpoint)

    @property
    def train_missing(self) -> MissingDataset | None:
        """Why there are no training images; None where there are some."""
        if self.missing or len(self.train):
            return self.missing
        root = os.path.abspath(data_root())
        return MissingDataset(f"data set {self.name} has no training images in {root!r}")

    def _split(self, split: str) -> Split:
        return Split(getattr(self.data, split, ()), self.viewpoint)

    def has_changed(self) -> bool:
        """Whether images or lists have been added or removed on the disk since it was opened."""
        return any(_age(place) != age for place, age in self._ages.items())


def opened_set(name: str, **kwargs: Any) -> OpenedSet:
    """:func:`.opening.open_dataset` in :func:`.opening.data_root`, or what it opened before."""
    if not kwargs.get("combineall", True):
        del kwargs["combineall"]  # the default of all data sets
    # The working folder, too: an argument may be a path from there.
    key = (name, os.getcwd(), os.path.abspath(data_root()), repr(sorted(kwargs.items())))
    found = _OPENED.get(key)
    if found is None or found.has_changed():
        found = _OPENED[key] = OpenedSet(name, open_dataset(name, **kwargs))
    return found


def forget_opened_sets() -> None:
    """Let every data set be opened again when it is next asked for, as at the start of a run."""
    _OPENED.clear()


_OPENED: dict[Hashable, OpenedSet] = {}


def _places(data: Any) -> set[str]:
    """Files and folders that change with the images of a FastReID data set."""
    values = getattr(data, "__dict__", {})
    paths = (os.fspath(v) for v in values.values() if isinstance(v, str | os.PathLike))
    places = {os.path.abspath(path) for path in paths if os.sep in path or os.path.exists(path)}
    base = os.path.abspath(values.get("dataset_dir", os.devnull)) + os.sep
    lists = [values.get(f"_{split}") for split in SPLITS]  # functions where not yet asked for
    folders = {os.path.dirname(x[0]) for items in lists if isinstance(items, list) for x in items}
    for folder in map(os.path.abspath, folders):
        while folder not in places:
            places.add(folder)
            if folder.startswith(base):  # a new identity is a folder beside those of the others
                folder = os.path.dirname(folder)
    return places - {os.path.abspath(data_root())}


def _age(place: str) -> int | None:
    """When a file or folder was last changed, in nanoseconds; None if it is not there."""
    try:
        return os.stat(place).st_mtime_ns
    except OSError:
        return None
