"""Which images a user means: one file, a folder, a list in a text file, or a table with labels.

A text file has one path a line (blank lines and lines that start with # do not count). A table, CSV
or Parquet, has the column ``image`` and any of ``identity``, ``camera`` and ``view`` (or
``viewpoint``); other columns are ignored::

    image,identity,camera,view
    shop/0001.jpg,17,0,
    shop/0002.jpg,anna,2,5

Cameras and views are 0-based integers; empty or negative = unknown. An identity is an integer >= 0
or a name, empty = unknown. A relative path counts from the working directory or, if there is no
such file, from the folder of the list.

A table with a column ``split`` is a training set, as ``CSVReID`` reads it. Its cameras may have any
names, and are numbered as in training: they are the rows of a model of this one training set.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from reid_common.errors import UserError
from reid_common.image_files import IMAGE_SUFFIXES
from reid_common.tables import TABLE_SUFFIXES, cell_number, cell_text, read_rows
from reid_core.data.records import Record, number_cameras


class ImageItem(NamedTuple):
    """One image of a list: file, identity, 0-based camera and viewpoint; -1 = unknown."""

    path: str
    pid: int = -1
    camid: int = -1
    viewid: int = -1


def list_images(source: str | os.PathLike[str]) -> list[ImageItem]:
    """List the images of a file, folder, .txt, .csv or .parquet.

    Args:
        source: an image; a folder, searched with all below it for files with the suffix of an image
            that are not hidden, sorted by path; or a list, in its own order.

    Raises:
        UserError: no such file, a folder or list without images, a malformed row; file and line are
            named. Whether the images can be read is not looked at.
    """
    path = Path(source)
    if path.is_dir():
        items = [ImageItem(found) for found in sorted(_walk(path))]
        if items:
            return items
        looked_for = ", ".join(IMAGE_SUFFIXES)
        raise UserError(f"there is no image in {str(path)!r}; looked for {looked_for}")
    if not path.is_file():
        raise UserError(f"there is no image, folder or list {str(path)!r}; check the path")
    if path.suffix.lower() in TABLE_SUFFIXES:
        items = list(_table_items(path))
    elif path.suffix.lower() == ".txt":
        items = [ImageItem(_located(line, path)) for line in _lines(path)]
    else:
        return [ImageItem(str(path))]
    if not items:
        raise UserError(f"the list {str(path)!r} names no image")
    return items


def _walk(folder: Path) -> Iterator[str]:
    seen = set()
    for parent, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen:  # a link that leads back up
            folders.clear()
            continue
        seen.add(real)
        # Sorted: of two links to one folder, always the same is followed.
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in files:
            if os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES and not name.startswith("."):
                yield os.path.join(parent, name)


def _located(name: str, listed_in: Path) -> str:
    beside = os.path.join(listed_in.parent, name)
    return beside if not os.path.exists(name) and os.path.exists(beside) else name


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"the list {str(path)!r} cannot be read as UTF-8 text: {error}") from error
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def _table_items(path: Path) -> Iterator[ImageItem]:
    rows = list(read_rows(str(path), needed=("image",)))
    training = [  # of another table there is none: its cameras are numbers
        Record("", "", cell_text(row["split"]).lower(), cell_text(row.get("camera")))
        for _, row in rows
        if "split" in row
    ]
    cameras = number_cameras(training)
    for place, row in rows:
        image, camera = cell_text(row["image"]), cell_text(row.get("camera"))
        if not image:
            raise UserError(f"{place}: the column 'image' is empty")
        number = cameras[camera] if camera in cameras else cell_number(row, "camera", place)
        pid = identity_number(cell_text(row.get("identity")))
        yield ImageItem(_located(image, path), pid, number, cell_number(row, "view", place))


def identity_number(name: str) -> int:
    """Number of an identity: its own if it is one, of a name 62 bits of its SHA-256.

    The same name gives the same number in every file, so that query and gallery may be listed
    apart. Empty or negative gives -1.
    """
    try:
        return max(int(name), -1) if name else -1
    except ValueError:
        return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") >> 2
