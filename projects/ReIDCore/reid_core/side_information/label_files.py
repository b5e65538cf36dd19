"""Cameras and viewpoints from files, for any data set: the key DATASETS.SIDE_INFORMATION.

A file is CSV (with a header) or Parquet (see reid_common.tables), one row an image::

    image,camera,view
    veri/image_train/0001_c001_00016450_0.jpg,0,5
    veri/image_test/0002_c002_00030600_0.jpg,,2

``camera`` or ``view`` (or ``viewpoint``) may be left out. Both are 0-based integers; an empty or
negative one is unknown. ``image`` is an absolute path, a path in the data root, or a bare file name
where the data set has one image of that name. Other columns are ignored. What a file says replaces
what the data set says; other images keep what they had. Of several files, the later ones count.
"""

from __future__ import annotations

import copy
import functools
import logging
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastreid.config import CfgNode
from reid_common.errors import UserError
from reid_common.tables import cell_number, read_rows

from ..data.opened_sets import SPLITS, UNKNOWN, OpenedSet
from ..data.opening import data_root

logger = logging.getLogger(__name__)

KEY = "DATASETS.SIDE_INFORMATION"
COLUMNS = ("image", "camera", "view")


@dataclass(frozen=True)
class Label:
    """What a file says of an image.

    Attributes:
        camera: 0-based, -1 = not known; None: the file has no such column.
        viewpoint: likewise.
        place: file and line, for messages.
    """

    camera: int | None
    viewpoint: int | None
    place: str = ""


def labelled(opened: OpenedSet, files: Sequence[str]) -> OpenedSet:
    """Return a data set with the cameras and viewpoints that files state.

    How many of its images each file names is logged, once for a set and a state of the files.

    Args:
        opened: the data set; it stays as it is.
        files: see the module's text.

    Raises:
        UserError: a file is missing or wrong.
    """
    if not files:
        return opened
    versions = tuple((file, os.stat(find_file(file)).st_mtime_ns) for file in files)
    if versions not in opened.variants:
        data = _with_labels(opened, _labels(opened, files))
        opened.variants[versions] = OpenedSet(opened.name, data)
    return opened.variants[versions]


def _labels(opened: OpenedSet, files: Sequence[str]) -> dict[str, Label]:
    """What files say of the images of a data set, by path."""
    paths = list(dict.fromkeys([*opened.train.paths, *opened.test.paths]))
    labels: dict[str, Label] = {}
    for file in files:
        found = match(file, paths)
        for path, label in found.items():
            labels[path] = _over(label, labels.get(path))
        logger.info("%s names %d of the %d images of %s", file, len(found), len(paths), opened.name)
    return labels


def _with_labels(opened: OpenedSet, labels: Mapping[str, Label]) -> Any:
    """A FastReID data set of the same images, of which files say the cameras and viewpoints."""
    data = copy.copy(opened.data)
    for split in SPLITS:
        items = getattr(opened, split).items
        setattr(data, f"_{split}", [_relabelled(x, labels, opened.dataset_name) for x in items])
    if any(label.viewpoint is not None for label in labels.values()):
        data.viewpoint = _Viewpoints(labels, opened.viewpoint)
    return data


def _over(new: Label, old: Label | None) -> Label:
    if old is None:
        return new
    return Label(
        old.camera if new.camera is None else new.camera,
        old.viewpoint if new.viewpoint is None else new.viewpoint,
        new.place,
    )


def _relabelled(item: Sequence[Any], labels: Mapping[str, Label], prefix: str) -> Sequence[Any]:
    label = labels.get(item[0])
    if label is None or label.camera is None:
        return item
    # As FastReID's items: names in training, where identities are names, else numbers.
    camera = f"{prefix}_{label.camera}" if isinstance(item[1], str) else label.camera
    return (item[0], item[1], camera, *item[3:])


class _Viewpoints:
    """Viewpoint of an image: of the files, else of the data set, else not known."""

    def __init__(self, labels: Mapping[str, Label], own: Any) -> None:
        self.labels = {p: x.viewpoint for p, x in labels.items() if x.viewpoint is not None}
        self.own = own

    def __call__(self, img_path: str) -> int:
        if img_path in self.labels:
            return self.labels[img_path]
        return UNKNOWN if self.own is None else int(self.own(img_path))


def check_side_information(cfg: CfgNode, paths: Iterable[str]) -> None:
    """Check that each file names at least one of the images ``paths`` of the config's data sets.

    Raises:
        UserError: a file that names none of them, is missing or wrong.
    """
    paths = list(dict.fromkeys(paths))
    for file in cfg.DATASETS.get("SIDE_INFORMATION", ()):
        if paths and not match(file, paths):
            image = next(iter(read_labels(find_file(file))), "no row at all")
            raise UserError(
                f"{KEY}: {file!r} names none of the {len(paths)} images of the data sets (its "
                f"first is {image!r}, theirs {paths[0]!r}); write paths in the data root "
                f"{os.path.abspath(data_root())!r}, absolute paths, or file names"
            )


def match(file: str, paths: Sequence[str]) -> dict[str, Label]:
    """Find the images that a file names.

    Args:
        file: as in DATASETS.SIDE_INFORMATION.
        paths: image files of a data set, each once.

    Returns:
        The label of each path that is named.

    Raises:
        UserError: a file name without folder that several of the images have.
    """
    root = os.path.abspath(data_root())
    by_path = {os.path.abspath(path): path for path in paths}
    by_name: defaultdict[str, list[str]] = defaultdict(list)
    for path in paths:
        by_name[os.path.basename(path)].append(path)
    found: dict[str, Label] = {}
    for image, label in read_labels(find_file(file)).items():
        if os.path.basename(image) == image:
            same = by_name.get(image, [])
            if len(same) > 1:
                raise UserError(
                    f"{label.place}: {len(same)} images are called {image!r}, such as {same[0]!r} "
                    f"and {same[1]!r}; write the path in the data root {root!r}"
                )
        else:
            place = os.path.normpath(os.path.join(root, image))
            same = [by_path[place]] if place in by_path else []
        for path in same:
            if path in found:
                raise UserError(f"{label.place}: {path!r} is named in {found[path].place}, too")
            found[path] = label
    return found


def find_file(file: str) -> str:
    """Return the path of a file of the key: as given, else in the data root.

    Raises:
        UserError: it is in neither place.
    """
    given = os.path.expanduser(str(file))
    for path in (given, os.path.join(data_root(), given)):
        if os.path.isfile(path):
            return path
    raise UserError(
        f"{KEY}: there is no file {str(file)!r}, neither as given (from {os.getcwd()!r}) nor in "
        f"the data root {os.path.abspath(data_root())!r}"
    )


def read_labels(path: str) -> Mapping[str, Label]:
    """Read a CSV or Parquet file: what it says of each image that it names.

    Raises:
        UserError: columns that are missing, rows that are malformed or name an image again.
    """
    return _read_labels(path, os.stat(path).st_mtime_ns)


@functools.lru_cache(maxsize=8)
def _read_labels(path: str, modified: int) -> Mapping[str, Label]:
    labels: dict[str, Label] = {}
    for place, row in read_rows(path, needed=COLUMNS[:1], known=COLUMNS):
        if len(row) == 1:
            raise UserError(f"{path!r} has neither a column 'camera' nor 'view'; add one")
        image = str(row["image"] or "").strip()
        if not image:
            raise UserError(f"{place}: the column 'image' is empty")
        image = os.path.normpath(image)
        if image in labels:
            raise UserError(f"{place}: {image!r} is named in {labels[image].place}, too")
        camera, viewpoint = (
            cell_number(row, name, place) if name in row else None for name in COLUMNS[1:]
        )
        labels[image] = Label(camera, viewpoint, place)
    return labels
