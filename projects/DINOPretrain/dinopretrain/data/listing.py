"""Names of images: of a folder's tree, or of a list file (text, Parquet, pickled list)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from reid_common.column_files.parquet import import_pyarrow
from reid_common.errors import UserError
from reid_common.image_files import IMAGE_SUFFIXES

from .path_list import PathList
from .pickled_names import read_pickled_names

TEXT, PARQUET, PICKLE = (".txt", ".lst", ".list"), (".parquet", ".pq"), (".pkl", ".pickle")
LIST_SUFFIXES = TEXT + PARQUET + PICKLE
_RAW_SUFFIXES = tuple(suffix.encode() for suffix in IMAGE_SUFFIXES)
COLUMNS = ("image", "path", "name", "file", "paths")  # of a Parquet list, the first that is there


def is_list_file(path: str) -> bool:
    """Whether the name is that of a list file."""
    return path.lower().endswith(LIST_SUFFIXES)


def check_list_name(path: str) -> None:
    """Raise UserError if the name is not that of a list file."""
    if not is_list_file(path):
        raise UserError(f"{path!r} is no list; its name must end in {', '.join(LIST_SUFFIXES)}")


def is_image_name(name: bytes) -> bool:
    """Whether a name has the suffix of an image and is not hidden."""
    return name.lower().endswith(_RAW_SUFFIXES) and not os.path.basename(name).startswith(b".")


def read_list(path: str) -> PathList:
    """Read a list file, in its own order.

    Text: a name a line, UTF-8; blank lines and lines that start with ``#`` do not count. Parquet:
    the column "image", "path", "name" or "file", or the only one. Pickled: one list of str or
    bytes, as the released CFS_list.pkl.

    Raises:
        UserError: it is none of these, or holds no name.
    """
    check_list_name(path)
    readers: dict[tuple[str, ...], Callable[[str], Iterator[str] | Iterator[bytes]]]
    readers = {PARQUET: _parquet_names, PICKLE: read_pickled_names, TEXT: _text_names}
    read = next(read for suffixes, read in readers.items() if path.lower().endswith(suffixes))
    listed = PathList.from_iterable(read(path))
    if not len(listed):
        raise UserError(f"the list {path!r} names no image; write one a line")
    return listed


def _text_names(path: str) -> Iterator[bytes]:
    with open(path, "rb") as file:
        for number, line in enumerate(file):
            name = line.removeprefix(b"\xef\xbb\xbf").strip() if number == 0 else line.strip()
            if b"\0" in name:
                raise UserError(f"{path!r}, line {number + 1}, is no text; is it a list of names?")
            if name and not name.startswith(b"#"):
                yield name


def _parquet_names(path: str) -> Iterator[str]:
    pa = import_pyarrow(repr(path), "a text list")
    try:
        file = pa.parquet.ParquetFile(path)
        columns = file.schema_arrow.names
        known = columns if len(columns) == 1 else [name for name in COLUMNS if name in columns]
        if not known:
            raise UserError(
                f"{path!r} has the columns {', '.join(columns) or '(none)'}; call the one with the "
                f"names of images {COLUMNS[0]!r}"
            )
        for batch in file.iter_batches(columns=known[:1]):
            for name in batch.column(0).to_pylist():
                if not isinstance(name, str) or not name:
                    what = f"column {known[0]!r} holds {name!r}, which is no name"
                    raise UserError(f"{path!r}: {what}")
                yield name
    except pa.ArrowException as error:
        raise UserError(f"{path!r} is no Parquet file: {error}; write it again") from error


def tree_names(folder: str) -> Iterator[bytes]:
    """Yield the images below a folder, relative to it, in the order of their names.

    The order is the same on every machine: by the bytes of the names, folder by folder. Hidden
    files and folders are left out; links are followed, but not round in circles.
    """
    yield from _tree(os.fsencode(folder), b"", {os.path.realpath(os.fsencode(folder))})


def _tree(folder: bytes, prefix: bytes, above: set[bytes]) -> Iterator[bytes]:
    images, folders = [], []
    with os.scandir(os.path.join(folder, prefix)) as entries:
        for entry in entries:
            # The suffix first: it spares a look at each file of a folder with links.
            if is_image_name(entry.name) and not entry.is_dir():
                images.append(entry.name)
            elif not entry.name.startswith(b".") and entry.is_dir():
                folders.append(entry.name)
    yield from (prefix + name for name in sorted(images))
    del images
    for name in sorted(folders):
        real = os.path.realpath(os.path.join(folder, prefix, name))
        if real not in above:
            yield from _tree(folder, prefix + name + b"/", above | {real})
