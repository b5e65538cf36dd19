"""Which images a user means: one file, a folder, a list in a text file, or a CSV with labels.

A text file has one path a line (blank lines and lines that start with # do not count). A CSV has a
header with the column ``image`` and any of ``identity``, ``camera`` and ``viewpoint``::

    image,identity,camera,viewpoint
    shop/0001.jpg,17,0,
    shop/0002.jpg,anna,2,5

Cameras and viewpoints are 0-based integers; empty or negative = unknown. An identity is an integer
>= 0 or a name, empty = unknown. A relative path counts from the working directory or, if there is
no such file, from the folder of the list.
"""

from __future__ import annotations

import csv
import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from reid_common.errors import UserError

# fmt: off
SUFFIXES = frozenset((
    ".bmp", ".gif", ".jp2", ".jpeg", ".jpg", ".mpo", ".pbm", ".pgm", ".png", ".ppm", ".tga", ".tif",
    ".tiff", ".webp",
))
# fmt: on
COLUMNS = ("image", "identity", "camera", "viewpoint")


class ImageItem(NamedTuple):
    """One image of a list.

    Attributes:
        path: file.
        pid: identity, -1 = unknown.
        camid: 0-based camera, -1 = unknown.
        viewid: 0-based viewpoint, -1 = unknown.
    """

    path: str
    pid: int = -1
    camid: int = -1
    viewid: int = -1


def list_images(source: str | os.PathLike[str]) -> list[ImageItem]:
    """List the images of a file, folder, .txt or .csv.

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
        if not items:
            raise UserError(
                f"there is no image in {str(path)!r}; looked for {', '.join(sorted(SUFFIXES))}"
            )
        return items
    if not path.is_file():
        raise UserError(f"there is no image, folder or list {str(path)!r}; check the path")
    if path.suffix.lower() == ".csv":
        items = list(_csv_items(path))
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
            if os.path.splitext(name)[1].lower() in SUFFIXES and not name.startswith("."):
                yield os.path.join(parent, name)


def _located(name: str, listed_in: Path) -> str:
    beside = os.path.join(listed_in.parent, name)
    return beside if not os.path.exists(name) and os.path.exists(beside) else name


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"the list {str(path)!r} cannot be read as UTF-8 text: {error}") from error


def _lines(path: Path) -> list[str]:
    lines = (line.strip() for line in _text(path).splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def _csv_items(path: Path) -> Iterator[ImageItem]:
    for place, row in csv_rows(path, COLUMNS[:1]):
        unknown = [name for name in row if name not in COLUMNS]
        if unknown:
            raise UserError(
                f"{path} has a column {unknown[0]!r}; its columns may be {', '.join(COLUMNS)}"
            )
        if not row["image"]:
            raise UserError(f"{place}: the column 'image' is empty")
        numbers = (_number(row.get(name, ""), name, place) for name in COLUMNS[2:])
        pid = identity_number(row.get("identity", ""))
        yield ImageItem(_located(row["image"], path), pid, *numbers)


def csv_rows(path: Path, required: tuple[str, ...]) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Yield ("file, line n", row) of a CSV with a header, spaces around values taken off.

    Raises:
        UserError: no UTF-8 text, a column of ``required`` is missing, or a row has more or fewer
            values than the header.
    """
    reader = csv.DictReader(_text(path).splitlines())
    header = [name.strip() for name in reader.fieldnames or ()]
    reader.fieldnames = header
    absent = [name for name in required if name not in header]
    if absent:
        raise UserError(
            f"{path}: the header lacks {', '.join(absent)}; it is {', '.join(header) or 'empty'}"
        )
    for row in reader:
        place = f"{path}, line {reader.line_num}"
        if None in row or None in row.values():
            raise UserError(f"{place}: not as many values as the header's {len(header)}")
        yield place, {name: value.strip() for name, value in row.items()}


def _number(text: str, name: str, place: str) -> int:
    try:
        return max(int(text), -1) if text else -1
    except ValueError as error:
        raise UserError(
            f"{place}: {name} is {text!r}; write a 0-based integer, or nothing where it is unknown"
        ) from error


def identity_number(name: str) -> int:
    """Number of an identity: its own if it is one, of a name 62 bits of its SHA-256.

    The same name gives the same number in every file, so that query and gallery may be listed
    apart. Empty or negative gives -1.
    """
    try:
        return max(int(name), -1) if name else -1
    except ValueError:
        return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") >> 2
