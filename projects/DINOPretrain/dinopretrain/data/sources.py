"""From a place on the disk to images: what is stored there is recognised, and a list may choose.

A place is a folder or tree of images, a folder with an LMDB (and keys.pkl), a folder of tar files,
one tar file, one LMDB, or a list file. Where ``images`` is the only folder in a place, as in the
released LUPerson, names count from there.
"""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Sequence

import numpy as np
import torch
from reid_common.errors import UserError
from reid_common.left_out import check_left_out
from reid_core.data.opening import MissingDataset

from .images import FileImages, ListedImages, SelectedImages, UnlabelledImages
from .listing import is_image_name, is_list_file, read_list, tree_names
from .lmdb_images import LmdbImages
from .path_list import PathList
from .tar_images import TarImages

logger = logging.getLogger(__name__)

IMAGES = "images"
KEYS = "keys.pkl"
_LMDB_SUFFIXES = (".mdb", ".lmdb")


def open_place(place: str) -> ListedImages:
    """Open all images of a place that is no list file.

    Raises:
        UserError: there are no images in it, or it is damaged.
    """
    if os.path.isfile(place):
        return _open_file(place)
    if lmdb := find_lmdb(place):
        return LmdbImages(lmdb, find_keys(place, lmdb))
    if tars := find_tars(place):
        return TarImages(tars)
    folder = images_folder(place)
    keys = PathList.from_iterable(tree_names(folder))
    if not len(keys):
        raise MissingDataset(
            f"there is no image in {place!r}: no files such as 0001.jpg in any folder of it, no "
            "tar files, and no LMDB"
        )
    return FileImages(keys, folder)


def _open_file(place: str) -> ListedImages:
    if place.lower().endswith(".tar"):
        return TarImages([place])
    if place.lower().endswith(_LMDB_SUFFIXES):
        # data.mdb is what its folder's data base consists of
        inside = os.path.basename(place) == "data.mdb"
        path = os.path.dirname(os.path.abspath(place)) if inside else place
        return LmdbImages(path, find_keys(os.path.dirname(path), path))
    raise UserError(
        f"{place!r} is no folder of images, .tar, .lmdb, or list (.txt, .parquet, .pkl) of them"
    )


def open_list(list_file: str, place: str | None) -> UnlabelledImages:
    """Open the images that a list names, in its order.

    Args:
        list_file: text, Parquet or pickled list.
        place: where the images are; None: beside the list, in its folder or in ``images`` there.

    Raises:
        UserError: the list is wrong, or its names are not those of images in the place.
    """
    names = read_list(list_file)
    stored = place is not None and (os.path.isfile(place) or find_lmdb(place) or find_tars(place))
    if place is None or not stored:
        above = os.path.dirname(os.path.abspath(list_file)) if place is None else place
        folders = (os.path.join(above, IMAGES), above)
        for folder in folders:
            if os.path.isfile(os.path.join(folder, names[0])):
                return FileImages(names, folder)
        raise UserError(
            f"the first image of the list {list_file!r} is {names[0]!r}, which is neither in "
            f"{folders[0]!r} nor in {folders[1]!r}; its names count from the folder of the images: "
            "write NAME:FOLDER?list=FILE to say where they are"
        )
    images = open_place(place)
    return SelectedImages(images, torch.from_numpy(_positions(images, names, list_file, place)))


def _positions(images: ListedImages, names: PathList, list_file: str, place: str) -> np.ndarray:
    """Which image each name of a list stands for; names that stand for none are left out."""
    found = images.keys.find(names)
    for above in (b"", b"images/"):  # one side may count from above "images"
        if (found >= 0).any():
            break
        below = (name.removeprefix(b"./").removeprefix(b"images/") for name in names.iter_raw())
        found = images.keys.find(PathList.from_iterable(above + name for name in below))
    known = found[found >= 0]
    if not len(known):
        raise UserError(
            f"none of the {len(names)} images of the list {list_file!r} (such as {names[0]!r}) is "
            f"in {place!r} (such as {images.keys[0]!r}); use the list that belongs to these images"
        )
    if missing := len(names) - len(known):
        first = names[int(np.flatnonzero(found < 0)[0])]
        reason = f"not in {place}, the first is {first}"
        remedy = "Use the list that belongs to these images, or one of those that are there"
        check_left_out(len(names), {reason: missing}, f"images of {list_file}", remedy=remedy)
        logger.warning("%d of the %d images of %s are %s", missing, len(names), list_file, reason)
    return known


def images_folder(place: str) -> str:
    """The folder that the names of a place's image files count from."""
    inside = os.path.join(place, IMAGES)
    if not os.path.isdir(inside):
        return place
    others = (e for e in _some_entries(place) if e.name != IMAGES and not e.name.startswith("."))
    alone = not any(e.is_dir() or is_image_name(os.fsencode(e.name)) for e in others)
    return inside if alone else place


def find_lmdb(place: str) -> str | None:
    """The LMDB in a folder: the folder itself, one within it, or a file; None if there is none."""
    if os.path.isfile(os.path.join(place, "data.mdb")):
        return place
    for entry in _some_entries(place):
        if entry.name.lower().endswith(_LMDB_SUFFIXES) and entry.is_file():
            return entry.path
        if entry.is_dir() and os.path.isfile(os.path.join(entry.path, "data.mdb")):
            return entry.path
    return None


def _some_entries(folder: str) -> list[os.DirEntry[str]]:
    """What is in a folder, but of a folder of millions of images only some."""
    with os.scandir(folder) as entries:
        return list(itertools.islice(entries, 1000))


def find_keys(place: str, lmdb: str) -> str | None:
    """The list of keys of an LMDB: in it, or beside it."""
    folders = (lmdb, place, os.path.dirname(os.path.abspath(lmdb)))
    paths = (os.path.join(folder, KEYS) for folder in folders)
    return next(filter(os.path.isfile, paths), None)


def find_tars(place: str) -> Sequence[str]:
    """The tar files in a folder or in ``images`` there, by name."""
    for folder in (place, os.path.join(place, IMAGES)):
        if os.path.isdir(folder) and any(_is_tar(entry.name) for entry in _some_entries(folder)):
            return sorted(os.path.join(folder, n) for n in os.listdir(folder) if _is_tar(n))
    return ()


def _is_tar(name: str) -> bool:
    return name.lower().endswith(".tar") and not name.startswith(".")


def check_place(place: str) -> None:
    """Raise UserError, without reading much, if nothing can be opened there."""
    if os.path.isfile(place) and not is_list_file(place):
        if not place.lower().endswith((".tar", *_LMDB_SUFFIXES)):
            _open_file(place)
    elif os.path.isdir(place) and not _some_entries(place):
        raise MissingDataset(f"the folder {place!r} is empty; it should hold images")
