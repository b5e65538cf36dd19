"""Read scores: a folder of Parquet shards, one such file, or a list that is sorted best first."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from dinopretrain.data.listing import LIST_SUFFIXES, PARQUET, is_list_file, read_list
from dinopretrain.data.path_list import PathList
from reid_common.column_files.parquet import import_pyarrow
from reid_common.errors import UserError

from .shards import META, check_complete

SHARDS = "part-*.parquet"
PATH, SCORE = "path", "score"


@dataclass(frozen=True)
class Scores:
    """Scores of images.

    Attributes:
        names: of the images.
        values: (N,) floats, higher is better; NaN where an image has none.
        are_places: these are no measured scores but 0, -1, -2, ...: places in a list.
    """

    names: PathList
    values: np.ndarray
    are_places: bool = False


def score_files(path: str) -> list[str]:
    """The files that hold the scores: the shards of a folder, or the file itself.

    Raises:
        UserError: the folder has not all shards, or the file is none of the known forms.
    """
    if os.path.isdir(path):
        shards = sorted(glob.glob(os.path.join(glob.escape(path), SHARDS)))
        if not shards:
            raise UserError(f"there are no scores in {path!r}: no files such as part-00000.parquet")
        if os.path.exists(os.path.join(path, META)):
            check_complete(Path(path))
        return shards
    if not is_list_file(path):
        raise UserError(
            f"{path!r} holds no scores; name a folder with {SHARDS}, or a file that ends in "
            f"{', '.join(LIST_SUFFIXES)}"
        )
    return [path]


def read_scores(path: str) -> Scores:
    """Read scores.

    Args:
        path: folder of ``part-*.parquet``, one Parquet file with the columns path (text) and score
            (float, null for an image without one), or a list of names, best first: text, pickled
            (CFS_list.pkl), or Parquet without a column "score".

    Raises:
        UserError: it is none of these, or holds no name.
    """
    files = score_files(path)
    if os.path.isfile(path) and not _has_scores(path):
        names = read_list(path)
        return Scores(names, -np.arange(len(names), dtype=np.float64), are_places=True)
    values: list[np.ndarray] = []
    names = PathList.from_iterable(_names_and_values(files, values))
    if not len(names):
        raise UserError(f"{path!r} holds no image; score the images again")
    return Scores(names, np.concatenate(values))


def _has_scores(path: str) -> bool:
    if not path.lower().endswith(PARQUET):
        return False
    pyarrow = import_pyarrow()
    try:
        return SCORE in pyarrow.parquet.read_schema(path).names
    except pyarrow.ArrowException as error:
        raise UserError(f"{path!r} is no Parquet file: {error}; write it again") from error


def _names_and_values(files: list[str], values: list[np.ndarray]) -> Iterator[str]:
    """Yield the names of all files, and append their scores to ``values``."""
    pyarrow = import_pyarrow()
    for path in files:
        try:
            file = pyarrow.parquet.ParquetFile(path)
            _check_columns(path, file.schema_arrow, pyarrow)
            for batch in file.iter_batches(columns=[PATH, SCORE]):
                names = batch.column(PATH)
                if names.null_count:
                    raise UserError(f"{path!r}: the column {PATH!r} has gaps; score again")
                values.append(batch.column(SCORE).to_numpy(zero_copy_only=False))
                yield from names.to_pylist()
        except pyarrow.ArrowException as error:
            raise UserError(
                f"{path!r} is no whole Parquet file: {error}; write it again"
            ) from error


def _check_columns(path: str, schema: Any, pyarrow: Any) -> None:
    for name, kind, right in (
        (PATH, "text", pyarrow.types.is_string),
        (SCORE, "floats", pyarrow.types.is_floating),
    ):
        if name not in schema.names:
            raise UserError(
                f"{path!r} has the columns {', '.join(schema.names)}; needed are {PATH} and {SCORE}"
            )
        if not right(schema.field(name).type):
            raise UserError(
                f"{path!r}: the column {name!r} must hold {kind}, not {schema.field(name).type}"
            )
