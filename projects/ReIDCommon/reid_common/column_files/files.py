"""Columns of N rows, meta data and whole numbers in one file, ``.npz`` or ``.parquet``.

A column is a list of N texts, an array (N,), or a matrix (N, K), of which only the first rows may
be known. One that is too large for the memory comes in :class:`.columns.Blocks`. numpy alone reads
the one format (``np.load(file)["features"]``), pandas or any database the other. Nothing is
pickled, and the same content gives the same bytes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError
from ..files import replacing
from .columns import Column
from .npz import read_npz, write_npz
from .parquet import read_parquet, write_parquet

SUFFIXES = (".npz", ".parquet")
META = "meta"


@dataclass
class ColumnFile:
    """What was read of a file."""

    columns: dict[str, Any]  # lists of text, or arrays that numpy may not write to, in parts
    meta: dict[str, Any]  # what JSON can hold
    numbers: dict[str, int]


def checked_suffix(path: str | os.PathLike[str], what: str) -> Path:
    """Return ``path`` if a file of columns, ``what`` in a message, may have its name.

    Raises:
        UserError: its suffix is neither .npz nor .parquet.
    """
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise UserError(f"{str(path)!r} is no name of a {what}; end it in .npz or .parquet")
    return path


def write_columns(
    path: Path,
    columns: Mapping[str, Column],
    meta: Mapping[str, Any],
    numbers: Mapping[str, int] | None = None,
) -> None:
    """Write a file, in one pass; it appears under its name when it is complete.

    Exactly one column is :class:`.columns.Blocks`, in Parquet a row group each. ``meta`` is what
    JSON can hold.

    Raises:
        UserError: the file cannot be written.
    """
    text = json.dumps(meta, sort_keys=True)
    with replacing(path) as temporary:
        if path.suffix == ".parquet":
            write_parquet(temporary, columns, text, numbers or {})
        else:
            scalars = {META: np.array(text)}
            scalars |= {name: np.array(n, np.int64) for name, n in (numbers or {}).items()}
            write_npz(temporary, {**scalars, **columns})


def read_columns(
    path: Path,
    required: Sequence[str],
    optional: Sequence[str] = (),
    numbers: Sequence[str] = (),
) -> ColumnFile:
    """Read some columns of a file; ``optional`` ones and ``numbers`` may be absent.

    Raises:
        UserError: it cannot be read, or lacks a column.
    """
    if path.suffix == ".parquet":
        columns, text, found = read_parquet(path, required, optional, numbers)
    else:
        columns = read_npz(path, required, (*optional, *numbers, META))
        text = str(columns.pop(META, "{}"))
        found = {name: int(columns.pop(name)) for name in numbers if name in columns}
    return ColumnFile(columns, json.loads(text), found)
