"""Images in folders, one folder an identity: ``DATASETS.NAMES ("FolderReID:/data/shop",)``.

::

    shop/train/alice/door_c1_0001.jpg    an identity is a folder; its name is any text
    shop/train/alice/hall/0002.png       a folder within it is a camera
    shop/test/bob/...                    queries are chosen, see records.choose_queries
    shop/query/bob/..., shop/gallery/bob/...    or are given instead of test

Camera of an image: the folder between identity and image; where there is none, the number in
``c1`` in the file's name, as in Market-1501's ``0002_c1s1_000451.jpg``; else it has no camera, and
matches any other image of its identity.

Without any of the four split folders every folder in ``shop`` is an identity, and all images serve
for training and, with chosen queries, for testing. That is for a data set of which one half is
used: testing on the identities that were trained tells nothing, and the tools say so.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from typing import Any

from fastreid.data.datasets import DATASET_REGISTRY
from reid_common.errors import UserError
from reid_common.image_files import IMAGE_SUFFIXES

from .names import name_of_path
from .opening import MissingDataset, find_path
from .records import ANY, SPLITS, Record, RecordDataset, natural_key

logger = logging.getLogger(__name__)

_CAMERA = re.compile(r"(?:^|_)c(\d+)(?=[_s.])", re.IGNORECASE)


def camera_of(names: list[str]) -> str:
    """Camera, "" for none, of ["hall", "0002.png"]: folders in the identity's, and the file."""
    if len(names) > 1:
        return names[0]
    match = _CAMERA.search(names[0])
    return str(int(match[1])) if match else ""


def image_files(folder: str) -> Iterator[list[str]]:
    """Yield the images below a folder as lists of names, in natural order; no hidden ones."""
    for place, folders, files in os.walk(folder, followlinks=True):
        folders[:] = sorted((f for f in folders if _is_wanted(f)), key=natural_key)
        relative = os.path.relpath(place, folder)
        above = [] if relative == os.curdir else relative.split(os.sep)
        for file in sorted(files, key=natural_key):
            if _is_wanted(file) and file.lower().endswith(IMAGE_SUFFIXES):
                yield [*above, file]


def _is_wanted(name: str) -> bool:
    return not name.startswith((".", "__"))  # __MACOSX: what zip files made on a Mac bring


def read_folder(root: str) -> list[Record]:
    """Read the images in the folder of a data set.

    Raises:
        UserError: an image in no identity's folder.
        MissingDataset: no images; a UserError, too.
    """
    inside = sorted(entry.name for entry in os.scandir(root) if entry.is_dir())
    splits = [split for split in SPLITS if split in inside]
    others = [name for name in inside if name not in splits and _is_wanted(name)]
    if splits and others:
        logger.warning("%s: only %s are read, not %s", root, ", ".join(splits), ", ".join(others))
    records = []
    for split in splits or [ANY]:
        folder = os.path.join(root, split) if split else root
        for names in image_files(folder):
            path = os.path.join(folder, *names)
            if len(names) == 1:
                raise UserError(
                    f"FolderReID: {path!r} lies in no identity's folder; move it to "
                    f"{os.path.join(folder, 'NAME', names[0])!r}"
                )
            records.append(Record(path, names[0], split, camera_of(names[1:])))
    if not records:
        raise MissingDataset(
            f"FolderReID: {root!r} has no images ({', '.join(IMAGE_SUFFIXES)}) in folders such as "
            "train/IDENTITY, query/IDENTITY and gallery/IDENTITY"
        )
    return records


@DATASET_REGISTRY.register()
class FolderReID(RecordDataset):
    """A folder an identity; the module's docstring shows the tree.

    ``argument`` is its folder, as given or within ``root``, the folder of all data sets.

    Raises:
        MissingDataset: the folder is not there, or has no images.
        UserError: it is a file, or an image lies in no identity's folder.
    """

    argument_example = "FolderReID:/data/shop"
    argument_name = staticmethod(name_of_path)

    def __init__(self, root: str = "datasets", *, argument: str, **kwargs: Any) -> None:
        self.dataset_dir = find_path(argument, root, "a folder of identities")
        if not os.path.isdir(self.dataset_dir):
            raise UserError(
                f"FolderReID: {self.dataset_dir!r} is a file; for a list of images write "
                f"'CSVReID:{argument}'"
            )
        super().__init__(name_of_path(argument), read_folder(self.dataset_dir), **kwargs)
