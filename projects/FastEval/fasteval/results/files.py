"""Results files as ``.npz`` and ``.parquet``; what their columns mean is in ``results.py``.

In Parquet a row is an image: ``topk_indices`` and ``topk_distances`` are lists in the rows of the
queries and null in the gallery's, and ``num_query`` is in the metadata of the schema. pyarrow is
imported where it is needed only.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from reid_common.errors import UserError

META_KEY = b"transreid"  # the one of TransReID's feature files, so that either reads the other's
NUM_QUERY_KEY = b"num_query"
IDS = ("pids", "camids", "viewids")
RANKING = ("topk_indices", "topk_distances")
BLOCK_ROWS = 8192  # features that are normalised at a time


@dataclass
class Columns:
    """A file's content; optional is what a mere feature file lacks.

    Attributes:
        paths: N image files.
        features: (N, D) float32; of any length when they are written, of length 1 when read.
        norms: (N,) float32 lengths of the features.
        ids: those of "pids", "camids" and "viewids" that there are, (N,) int64 each.
        num_query: number of queries, which come first.
        topk_indices: (Q, K) int64.
        topk_distances: (Q, K) float32.
        meta: JSON.
    """

    paths: list[str]
    features: np.ndarray
    norms: np.ndarray | None
    ids: dict[str, np.ndarray]
    num_query: int | None
    topk_indices: np.ndarray | None
    topk_distances: np.ndarray | None
    meta: str

    @property
    def lengths(self) -> np.ndarray:
        """``norms`` of what is written, which has them."""
        assert self.norms is not None
        return self.norms

    def blocks(self) -> Iterator[np.ndarray]:
        """Yield the features in blocks (n, D), divided by their lengths."""
        lengths = np.where(self.lengths > 0, self.lengths, 1).astype(np.float32)
        for start in range(0, len(self.features), BLOCK_ROWS):
            rows = slice(start, start + BLOCK_ROWS)
            yield np.asarray(self.features[rows], "<f4") / lengths[rows, None]


def write_npz(path: Path, columns: Columns) -> None:
    """Write an uncompressed ``.npz``, but for the paths, which shrink by a lot."""
    small: dict[str, Any] = {
        "paths": np.array(columns.paths, dtype=np.str_),
        "meta": np.array(columns.meta),
        "num_query": np.array(columns.num_query, dtype=np.int64),
        "norms": columns.norms,
        "topk_indices": columns.topk_indices,
        "topk_distances": columns.topk_distances,
        **columns.ids,
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, column in small.items():
            if column is not None:
                with archive.open(_member(name, zipfile.ZIP_DEFLATED), "w") as file:
                    np.lib.format.write_array(file, column, allow_pickle=False)
        member = _member("features", zipfile.ZIP_STORED)
        with archive.open(member, "w", force_zip64=True) as file:
            header = {"descr": "<f4", "fortran_order": False, "shape": columns.features.shape}
            np.lib.format.write_array_header_1_0(file, header)
            for block in columns.blocks():
                file.write(block.tobytes())


def _member(name: str, compression: int) -> zipfile.ZipInfo:
    member = zipfile.ZipInfo(f"{name}.npy")  # dated 1980: the same results give the same bytes
    member.compress_type = compression
    return member


def read_npz(path: Path) -> Columns:
    """Read a file.

    Raises:
        UserError: it cannot be read, or lacks paths or features.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, AttributeError, zipfile.BadZipFile, EOFError) as error:
        raise UserError(f"{str(path)!r} cannot be read: {error}; make it again") from error
    _check_present(path, list(arrays))
    return Columns(
        [str(name) for name in arrays["paths"]],
        np.ascontiguousarray(arrays["features"], np.float32),
        arrays.get("norms"),
        {name: np.asarray(arrays[name], np.int64) for name in IDS if name in arrays},
        int(arrays["num_query"]) if "num_query" in arrays else None,
        arrays.get("topk_indices"),
        arrays.get("topk_distances"),
        str(arrays.get("meta", "{}")),
    )


def _check_present(path: Path, names: list[str]) -> None:
    absent = [name for name in ("paths", "features") if name not in names]
    if absent:
        raise UserError(
            f"{str(path)!r} lacks {' and '.join(absent)}; it holds {', '.join(names) or 'nothing'}"
        )


def _pyarrow() -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise UserError(
            "Parquet files need pyarrow: pip install pyarrow; or take .npz instead"
        ) from error
    return pyarrow


def write_parquet(path: Path, columns: Columns) -> None:
    """Write a ``.parquet``, a row group for each block of features."""
    pa = _pyarrow()
    dim = columns.features.shape[1]
    fields = [("paths", pa.string()), ("features", pa.list_(pa.float32(), dim))]
    fields += [("norms", pa.float32()), *((name, pa.int64()) for name in columns.ids)]
    ranking = {name: getattr(columns, name) for name in RANKING}
    ranking = {name: values for name, values in ranking.items() if values is not None}
    for name, values in ranking.items():
        fields.append((name, pa.list_(pa.from_numpy_dtype(values.dtype), values.shape[1])))
    metadata = {META_KEY: columns.meta, NUM_QUERY_KEY: str(columns.num_query)}
    schema = pa.schema(fields, metadata=metadata)
    lengths, start = columns.lengths, 0
    with pa.parquet.ParquetWriter(path, schema) as writer:
        for block in columns.blocks():
            rows = slice(start, start + len(block))
            arrays = [pa.array(columns.paths[rows], pa.string()), _lists(pa, block, len(block))]
            arrays.append(pa.array(lengths[rows]))
            arrays += [pa.array(column[rows]) for column in columns.ids.values()]
            arrays += [_lists(pa, values[rows], len(block)) for values in ranking.values()]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
            start += len(block)


def _lists(pa: Any, values: np.ndarray, count: int) -> Any:
    """``count`` lists, one for each row of ``values``, and null where it has no more rows."""
    size = values.shape[1]
    kind = pa.list_(pa.from_numpy_dtype(values.dtype), size)
    lists = pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), size)
    if len(values) == count:
        return lists
    return pa.concat_arrays([lists, pa.nulls(count - len(values), kind)])


def read_parquet(path: Path) -> Columns:
    """Read a file.

    Raises:
        UserError: it cannot be read, or lacks paths or features.
    """
    pa = _pyarrow()
    try:
        table = pa.parquet.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{str(path)!r} cannot be read: {error}; make it again") from error
    _check_present(path, table.column_names)
    names = set(table.column_names)
    metadata = table.schema.metadata or {}
    num_query = int(metadata[NUM_QUERY_KEY]) if NUM_QUERY_KEY in metadata else None
    indices, distances = (
        _matrix(path, table, name, num_query) if name in names else None for name in RANKING
    )
    features = _matrix(path, table, "features", None)
    return Columns(
        table["paths"].to_pylist(),
        np.array(features, np.float32),  # a copy: Arrow's memory cannot be written to
        table["norms"].to_numpy() if "norms" in names else None,
        {name: table[name].to_numpy() for name in IDS if name in names},
        num_query,
        indices,
        distances,
        metadata.get(META_KEY, b"{}").decode(),
    )


def _matrix(path: Path, table: Any, name: str, rows: int | None) -> np.ndarray:
    """A column of lists of one length as (rows, length)."""
    column = table[name].slice(0, rows).combine_chunks()
    size = getattr(column.type, "list_size", None)
    if size is None:
        raise UserError(f"{str(path)!r}: {name} are {column.type}, not lists of one length")
    return column.flatten().to_numpy(zero_copy_only=False).reshape(-1, size)
