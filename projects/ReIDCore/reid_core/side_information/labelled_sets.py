"""Data sets of a config, with the cameras and viewpoints of DATASETS.SIDE_INFORMATION's files.

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
from typing import Any, NamedTuple

from fastreid.config import CfgNode
from reid_common.errors import UserError
from reid_common.tables import cell_number, read_rows

from ..data.opened_sets import SPLITS, UNKNOWN, OpenedSet, opened_set
from ..data.opening import MissingDataset, data_root
from .rows import CameraTable, table_of

logger = logging.getLogger(__name__)

KEY = "DATASETS.SIDE_INFORMATION"
COLUMNS = ("image", "camera", "view")


class Label(NamedTuple):
    """What a file says of an image: 0-based, -1 = not known; None: the file has no such column."""

    camera: int | None
    viewpoint: int | None
    place: str = ""  # file and line, for messages


def open_labelled(cfg: CfgNode, name: str, **kwargs: Any) -> OpenedSet:
    """Open a data set as ``opened_set`` does, with the labels of DATASETS.SIDE_INFORMATION.

    How many of its images each file names is logged, once for a set and a state of the files.

    Raises:
        UserError: a file is missing or wrong; what ``opened_set`` raises.
    """
    opened, files = opened_set(name, **kwargs), cfg.DATASETS.get("SIDE_INFORMATION", ())
    if not files:
        return opened
    versions = tuple((file, os.stat(find_file(file)).st_mtime_ns) for file in files)
    if versions not in opened.variants:
        opened.variants[versions] = OpenedSet(name, _with_labels(opened, _labels(opened, files)))
    return opened.variants[versions]


def training_sets(cfg: CfgNode) -> list[OpenedSet]:
    """Open DATASETS.NAMES; one that is not on this machine has no images, and says why."""
    combineall = bool(cfg.DATASETS.COMBINEALL)
    return [_open_or_miss(cfg, name, combineall=combineall) for name in cfg.DATASETS.NAMES]


def test_sets(cfg: CfgNode) -> list[OpenedSet]:
    """Open DATASETS.TESTS, each once; likewise."""
    return [_open_or_miss(cfg, name) for name in dict.fromkeys(cfg.DATASETS.TESTS)]


def _open_or_miss(cfg: CfgNode, name: str, **kwargs: Any) -> OpenedSet:
    try:
        return open_labelled(cfg, name, **kwargs)
    except MissingDataset as error:
        return OpenedSet(name, None, error)


def camera_table(cfg: CfgNode) -> CameraTable:
    """Camera table of a config; no data set is opened where DATASETS.CAMERAS is given."""
    training = [] if cfg.DATASETS.CAMERAS else training_sets(cfg)
    return table_of(cfg, training)


def _labels(opened: OpenedSet, files: Sequence[str]) -> dict[str, Label]:
    """What files say of the images of a data set, by path."""
    paths = list(dict.fromkeys([*opened.train.paths, *opened.test.paths]))
    labels: dict[str, Label] = {}
    for file in files:
        found = match(file, paths)
        for path, new in found.items():
            old = labels.get(path, new)
            labels[path] = Label(
                old.camera if new.camera is None else new.camera,
                old.viewpoint if new.viewpoint is None else new.viewpoint,
            )
        logger.info("%s names %d of the %d images of %s", file, len(found), len(paths), opened.name)
    return labels


def _with_labels(opened: OpenedSet, labels: Mapping[str, Label]) -> Any:
    """A FastReID data set of the same images, of which files say the cameras and viewpoints."""
    data, prefix = copy.copy(opened.data), opened.dataset_name
    for split in SPLITS:
        items = getattr(opened, split).items
        setattr(data, f"_{split}", [_relabelled(item, labels, prefix) for item in items])
    views = {p: x.viewpoint for p, x in labels.items() if x.viewpoint is not None}
    if views:
        own = opened.viewpoint or (lambda path: UNKNOWN)
        data.viewpoint = lambda path: views[path] if path in views else int(own(path))
    return data


def _relabelled(item: Sequence[Any], labels: Mapping[str, Label], prefix: str) -> Sequence[Any]:
    camera = labels[item[0]].camera if item[0] in labels else None
    if camera is None:
        return item
    # As FastReID's items: names in training, where identities are names, else numbers.
    return (*item[:2], f"{prefix}_{camera}" if isinstance(item[1], str) else camera, *item[3:])


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
    """The label of each of ``paths``, images of a data set, that a file of the key names.

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
    return _read_labels(os.path.abspath(path), os.stat(path).st_mtime_ns)


@functools.lru_cache(maxsize=8)
def _read_labels(path: str, _modified: int) -> Mapping[str, Label]:
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
        camera, view = (cell_number(row, n, place) if n in row else None for n in COLUMNS[1:])
        labels[image] = Label(camera, view, place)
    return labels
