"""Columns in Parquet files, for pandas, DuckDB, Spark and vector databases.

A matrix is a column of lists of one length, null in rows that it does not have. Meta data and whole
numbers are in the metadata of the schema. pyarrow is imported where it is needed only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError
from .columns import Blocks, Column, check_present

META_KEY = b"transreid"


def import_pyarrow(needed_by: str = "Parquet files", instead: str = ".npz") -> Any:
    """Return pyarrow with its Parquet reader.

    Raises:
        UserError: it is not installed, ``needed_by`` needs it, and ``instead`` does without.
    """
    try:
        import pyarrow
        import pyarrow.compute
        import pyarrow.parquet
    except ImportError as error:
        raise UserError(
            f"{needed_by}: pyarrow is not installed; pip install pyarrow, or use {instead} instead"
        ) from error
    return pyarrow


def write_parquet(
    path: Path, columns: Mapping[str, Column], meta: str, numbers: Mapping[str, int]
) -> None:
    """Write a file, a row group for each block of the one column that is :class:`Blocks`."""
    pa = import_pyarrow()
    kinds = {name: _kind(pa, column) for name, column in columns.items()}
    metadata = {META_KEY: meta.encode()}
    metadata |= {name.encode(): str(number).encode() for name, number in numbers.items()}
    schema = pa.schema(list(kinds.items()), metadata=metadata)
    (blocks,) = (column for column in columns.values() if isinstance(column, Blocks))
    start = 0
    with pa.parquet.ParquetWriter(path, schema) as writer:
        for block in blocks.rows:
            rows, count = slice(start, start + len(block)), len(block)
            arrays = [
                _array(pa, block if isinstance(column, Blocks) else column[rows], kind, count)
                for column, kind in zip(columns.values(), kinds.values(), strict=True)
            ]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
            start += count


def _kind(pa: Any, column: Column) -> Any:
    """Arrow's type of a column."""
    if isinstance(column, Blocks):
        return pa.list_(pa.float32(), column.shape[1])
    if isinstance(column, list):
        return pa.string()
    kind = pa.from_numpy_dtype(column.dtype)
    return kind if column.ndim == 1 else pa.list_(kind, column.shape[1])


def _array(pa: Any, values: list[str] | np.ndarray, kind: Any, count: int) -> Any:
    """``count`` rows as an Arrow array; null where ``values`` has no more rows."""
    if isinstance(values, list) or values.ndim == 1:
        return pa.array(values, kind)
    lists = pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])
    if len(values) == count:
        return lists
    return pa.concat_arrays([lists, pa.nulls(count - len(values), kind)])


def read_parquet(
    path: Path, required: Sequence[str], optional: Sequence[str], numbers: Sequence[str]
) -> tuple[dict[str, Any], str, dict[str, int]]:
    """Read columns, meta data (JSON) and whole numbers of a file.

    Raises:
        UserError: no Parquet, or one that lacks a column of ``required``.
    """
    pa = import_pyarrow()
    try:
        with pa.parquet.ParquetFile(path) as file:
            names, metadata = file.schema_arrow.names, file.schema_arrow.metadata or {}
            check_present(path, required, names)
            wanted = [name for name in (*required, *optional) if name in names]
            table = file.read(columns=wanted)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{str(path)!r} cannot be read: {error}; write it again") from error
    found = {n: int(metadata[n.encode()]) for n in numbers if n.encode() in metadata}
    columns = {name: _values(pa, path, name, table[name]) for name in wanted}
    return columns, metadata.get(META_KEY, b"{}").decode(), found


def _values(pa: Any, path: Path, name: str, column: Any) -> Any:
    """A column as a list of text, an array (N,) or a matrix (n, K) of the rows that are no null."""
    kind = column.type
    if pa.types.is_fixed_size_list(kind):
        lists = column.drop_null().combine_chunks()
        values = lists.flatten().to_numpy(zero_copy_only=False)
        return values.reshape(len(lists), kind.list_size)
    if pa.types.is_nested(kind):
        raise UserError(f"{str(path)!r}: {name} are {kind}, not lists of one length")
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return column.to_numpy()
    return column.to_pylist()
