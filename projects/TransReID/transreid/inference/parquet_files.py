"""Feature files as Parquet, for pandas, DuckDB, Spark and vector data bases.

``features`` is a column of fixed-size lists of D float32; ``meta`` is in the metadata of the
schema, under ``transreid``. pyarrow is imported where it is needed only: .npz does without.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from reid_common.errors import UserError

META_KEY = b"transreid"
IDS = ("pids", "camids", "viewids")


def import_pyarrow() -> Any:
    """pyarrow with its Parquet reader.

    Raises:
        UserError: it is not installed.
    """
    try:
        import pyarrow
        import pyarrow.compute
        import pyarrow.parquet
    except ImportError as error:
        raise UserError(
            "Parquet files need pyarrow: pip install pyarrow; features may be .npz instead"
        ) from error
    return pyarrow


def write_parquet(
    path: Path,
    paths: list[str],
    dim: int,
    blocks: Iterator[np.ndarray],
    ids: dict[str, np.ndarray],
    meta: str,
) -> None:
    """Write a feature file, a row group for each block.

    Args:
        path: file to write.
        paths: N image files.
        dim: D.
        blocks: arrays (n, D) float32, N rows together.
        ids: columns of (N,) int64.
        meta: JSON.
    """
    pa = import_pyarrow()
    fields = [("paths", pa.string()), ("features", pa.list_(pa.float32(), dim))]
    fields += [(name, pa.int64()) for name in ids]
    schema = pa.schema(fields, metadata={META_KEY: meta.encode()})
    start = 0
    with pa.parquet.ParquetWriter(path, schema) as writer:
        for block in blocks:
            rows = slice(start, start + len(block))
            lists = pa.FixedSizeListArray.from_arrays(pa.array(block.reshape(-1)), dim)
            columns = [pa.array(paths[rows], pa.string()), lists]
            columns += [pa.array(column[rows]) for column in ids.values()]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))
            start += len(block)


def read_parquet(path: Path) -> dict[str, Any]:
    """Return the columns of a feature file: paths, features (N, D), ids, meta (JSON).

    Raises:
        UserError: no Parquet, or without the columns of a feature file.
    """
    pa = import_pyarrow()
    try:
        table = pa.parquet.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{str(path)!r} cannot be read: {error}; make it again") from error
    absent = [name for name in ("paths", "features") if name not in table.column_names]
    if absent:
        names = ", ".join(table.column_names)
        raise UserError(f"{str(path)!r} lacks {', '.join(absent)}; it holds {names}")
    features = table["features"].combine_chunks()
    if not pa.types.is_fixed_size_list(features.type):
        raise UserError(f"{str(path)!r}: features are {features.type}, not fixed_size_list<float>")
    dim = features.type.list_size
    columns: dict[str, Any] = {"paths": table["paths"].to_pylist()}
    columns["features"] = features.flatten().to_numpy(zero_copy_only=False).reshape(-1, dim)
    columns.update({name: table[name].to_numpy() for name in IDS if name in table.column_names})
    columns["meta"] = _meta(table.schema)
    return columns


def read_parquet_meta(path: Path) -> tuple[str, int]:
    """Return meta (JSON) and N of a feature file, without reading its columns.

    Raises:
        UserError: no Parquet.
    """
    pa = import_pyarrow()
    try:
        with pa.parquet.ParquetFile(path) as file:
            return _meta(file.schema_arrow), file.metadata.num_rows
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{str(path)!r} cannot be read: {error}; make it again") from error


def _meta(schema: Any) -> str:
    return (schema.metadata or {}).get(META_KEY, b"{}").decode()
