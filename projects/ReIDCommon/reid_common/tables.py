"""Rows of CSV and Parquet files, with the place of each for messages."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .errors import UserError

Row = tuple[str, Mapping[str, Any]]  # "list.csv, line 7", and its values by column


def read_rows(path: str, needed: Sequence[str], known: Sequence[str]) -> Iterator[Row]:
    """Yield the rows of a table: Parquet if the name ends in .parquet or .pq, else CSV.

    Args:
        path: CSV in UTF-8 with a header, its fields separated by commas, semicolons or tabs; or
            Parquet.
        needed: columns without which the file is refused.
        known: columns that are read; others are ignored.

    Yields:
        Where the row stands, and its values: text from CSV, anything from Parquet.

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
            names = _checked(path, next(reader, []), needed, known)
            for values in reader:
                if not values:  # an empty line
                    continue
                place = f"{path}, line {reader.line_num}"
                if len(values) != len(names):
                    raise UserError(
                        f"{place} has {len(values)} values, the header {len(names)}; write as "
                        "many, with quotes around those that hold a separator"
                    )
                row = dict(zip(names, values, strict=True))
                yield place, {name: row[name] for name in known if name in row}
    except (csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"{path!r} is no CSV file in UTF-8: {error}; save it as such") from error


def _parquet_rows(path: str, needed: Sequence[str], known: Sequence[str]) -> Iterator[Row]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise UserError(f"{path!r} needs pyarrow: pip install pyarrow; or use a CSV") from error
    number = 0
    try:
        file = parquet.ParquetFile(path)
        names = _checked(path, file.schema_arrow.names, needed, known)
        for batch in file.iter_batches(columns=[name for name in known if name in names]):
            for row in batch.to_pylist():
                number += 1
                yield f"{path}, row {number}", row
    except pyarrow.ArrowException as error:
        raise UserError(f"{path!r} is no Parquet file: {error}; write it again") from error


def _checked(
    path: str, header: Sequence[str], needed: Sequence[str], known: Sequence[str]
) -> list[str]:
    """Return the names of the columns without blanks around them."""
    names = [str(name).strip() for name in header]
    for name in needed:
        if name not in names:
            raise UserError(
                f"{path!r} has no column {name!r}, but {', '.join(names) or 'none at all'}; known "
                f"are {', '.join(known)}"
            )
    for name in known:
        if names.count(name) > 1:
            raise UserError(f"{path!r} has two columns {name!r}; rename one of them")
    return names
