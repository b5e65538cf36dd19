"""Rows of CSV and Parquet files, with the place of each for messages; the columns of image tables.

Tables of images have any of the columns of :data:`COLUMNS`; other columns are ignored. So one
table serves as a training set, as a list of images to extract, and as side information.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .column_files.parquet import import_pyarrow
from .errors import UserError

COLUMNS = ("image", "identity", "split", "camera", "view")
ALIASES = {"view": ("viewpoint",)}  # other names of a column, for tables that lack its own
TABLE_SUFFIXES = (".csv", ".parquet", ".pq")
UNKNOWN = -1

Row = tuple[str, Mapping[str, Any]]  # "list.csv, line 7", and its values by column


def read_rows(path: str, needed: Sequence[str], known: Sequence[str] = COLUMNS) -> Iterator[Row]:
    """Yield the rows of a table: Parquet if the name ends in .parquet or .pq, else CSV.

    CSV is in UTF-8 with a header, its fields separated by commas, semicolons or tabs, its values
    are text; those of Parquet are anything.

    Args:
        path: file.
        needed: columns without which the file is refused.
        known: columns that are read, under their names or :data:`ALIASES`; others are ignored.

    Raises:
        UserError: a file that is neither, columns that are missing or stand there twice, a row of
            another length than the header; pyarrow is needed and absent.
    """
    parquet = path.lower().endswith((".parquet", ".pq"))
    return _parquet_rows(path, needed, known) if parquet else _csv_rows(path, needed, known)


def _csv_rows(path: str, needed: Sequence[str], known: Sequence[str]) -> Iterator[Row]:
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            header = file.readline()
            file.seek(0)
            separator = max(",;\t", key=header.count)
            reader = csv.reader(file, delimiter=separator, strict=True, skipinitialspace=True)
            names = next(reader, [])
            columns = _columns(path, names, needed, known)
            for values in reader:
                if not values:  # an empty line
                    continue
                place = f"{path}, line {reader.line_num}"
                if len(values) != len(names):
                    raise UserError(
                        f"{place} has {len(values)} values, the header {len(names)}; write as "
                        "many, with quotes around those that hold a separator"
                    )
                yield place, {name: values[index] for name, index in columns.items()}
    except (csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"{path!r} is no CSV file in UTF-8: {error}; save it as such") from error
    except OSError as error:
        raise UserError(f"{path!r} cannot be read: {error.strerror or error}") from error


def _parquet_rows(path: str, needed: Sequence[str], known: Sequence[str]) -> Iterator[Row]:
    pa = import_pyarrow(repr(path), "a CSV")
    try:
        file = pa.parquet.ParquetFile(path)
        header = file.schema_arrow.names
        columns = {n: header[i] for n, i in _columns(path, header, needed, known).items()}
        batches = file.iter_batches(columns=list(columns.values()))
        for number, row in enumerate((row for b in batches for row in b.to_pylist()), start=1):
            yield f"{path}, row {number}", {name: row[own] for name, own in columns.items()}
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path!r} is no Parquet file: {error}; write it again") from error


def _columns(
    path: str, header: Sequence[Any], needed: Sequence[str], known: Sequence[str]
) -> dict[str, int]:
    """Position in the header of each known column that it has."""
    names = [str(name).strip() for name in header]
    columns: dict[str, int] = {}
    for name in known:
        own = next((n for n in (name, *ALIASES.get(name, ())) if n in names), None)
        if own is not None:
            if names.count(own) > 1:
                raise UserError(f"{path!r} has two columns {own!r}; rename one of them")
            columns[name] = names.index(own)
        elif name in needed:
            raise UserError(
                f"{path!r} has no column {name!r}, but {', '.join(names) or 'none at all'}; known "
                f"are {', '.join(known)}"
            )
    return columns


def cell_text(value: Any) -> str:
    """Text of a cell; what pandas makes of whole numbers with gaps, 3.0 and nan, is 3 and ""."""
    if value is None or value != value:
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip()


def cell_number(row: Mapping[str, Any], name: str, place: str) -> int:
    """0-based number in a column; -1 where the cell or the column is empty, or it is negative.

    Raises:
        UserError: another text.
    """
    text = cell_text(row.get(name))
    if text.lower() in ("", "nan", "none"):
        return UNKNOWN
    try:
        number = float(text)  # pandas writes 3.0 where other rows of the column are empty
        if not number.is_integer():
            raise ValueError
    except ValueError as error:
        raise UserError(
            f"{place}: {name} is {text!r}; write a 0-based integer, or nothing where it is unknown"
        ) from error
    return max(int(number), UNKNOWN)
