"""Results of an evaluation in a file: features, ids and ranked gallery, to be looked at again.

A results file is a feature file (``paths``, ``features`` L2-normalised, ``pids``, ``camids``,
``viewids``, ``meta``), which :mod:`transreid.inference.feature_files` can read, with what an
evaluation adds: ``norms``, the lengths that the features had, ``num_query``, and ``topk_indices``
and ``topk_distances`` (in the rows of the queries). Everything else is recomputed from it, see
tools/evaluate.py.

Letters: N images, of which the first Q are queries and the other G the gallery; D dimensions; K
ranked gallery images of a query.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from reid_common.column_files import files
from reid_common.column_files.columns import Blocks
from reid_common.errors import UserError
from reid_core.side_information.rows import FIRST_WITHOUT_CAMERA

BLOCK_ROWS = 8192  # features that are normalised at a time
DTYPES = {
    "pids": np.int64,
    "camids": np.int64,
    "viewids": np.int64,
    "topk_indices": np.int64,
    "topk_distances": np.float32,
}


@dataclass
class ResultSet:
    """What one evaluation saw and found.

    Attributes:
        features: (N, D) float32 as the model gave them, queries first.
        pids: (N,) int64 identities.
        camids: (N,) int64 cameras as a model's batches have them: 0-based rows of its table;
            -(1 + camera) for a camera without a row; where no camera is known a number of its own
            for each image, at most :data:`reid_core.side_information.rows.FIRST_WITHOUT_CAMERA`.
        num_query: Q.
        paths: N image files, "" where it is not known.
        viewids: (N,) int64 0-based viewpoints, negative = unknown; None for all unknown.
        topk_indices: (Q, K) int64, positions in the gallery (0..G-1), nearest first, without the
            query's identity under its own camera; -1 where there are fewer than K. None: not saved.
        topk_distances: (Q, K) float32 distances after expansion and re-ranking; inf at -1.
        meta: what JSON can hold: "scores" and "evaluation" (settings), weights, versions.
    """

    features: np.ndarray
    pids: np.ndarray
    camids: np.ndarray
    num_query: int
    paths: list[str]
    viewids: np.ndarray | None = None
    topk_indices: np.ndarray | None = None
    topk_distances: np.ndarray | None = None
    meta: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.features)

    @property
    def query_paths(self) -> list[str]:
        """Image files of the Q queries."""
        return self.paths[: self.num_query]

    @property
    def gallery_paths(self) -> list[str]:
        """Image files of the G gallery images."""
        return self.paths[self.num_query :]

    def check(self, name: str) -> None:
        """Raise UserError, which names the results, if the columns do not fit one another."""
        count = len(self.features)
        if self.features.ndim != 2 or not 1 <= self.num_query < max(count, 1):
            raise UserError(
                f"{name}: features {self.features.shape} with {self.num_query} queries; there must "
                "be (N, D) of them, at least one of a query and one of the gallery"
            )
        columns = {"pids": self.pids, "camids": self.camids, "viewids": self.viewids}
        for column, values in columns.items():
            if values is not None and values.shape != (count,):
                raise UserError(f"{name}: {column} is {values.shape} for {count} images")
        if len(self.paths) != count:
            raise UserError(f"{name}: {len(self.paths)} paths for {count} images")
        self._check_ranking(name)

    def _check_ranking(self, name: str) -> None:
        indices, distances = self.topk_indices, self.topk_distances
        if indices is None and distances is None:
            return
        if indices is None or distances is None or indices.shape != distances.shape:
            raise UserError(f"{name}: topk_indices and topk_distances are not of one shape (Q, K)")
        if indices.ndim != 2 or len(indices) != self.num_query:
            raise UserError(f"{name}: topk_indices {indices.shape} for {self.num_query} queries")
        gallery = len(self) - self.num_query
        if indices.size and not -1 <= indices.min() <= indices.max() < gallery:
            raise UserError(f"{name}: topk_indices leave the gallery's 0..{gallery - 1}")


def write_results(path: str | os.PathLike[str], results: ResultSet) -> None:
    """Write a results file, .npz or (with pyarrow) .parquet; it appears when it is complete.

    Features of length 0 or with NaN are written as they are.

    Raises:
        UserError: another suffix, columns that do not fit one another, or a file that cannot be
            written.
    """
    path = checked_results_name(path)
    results.check(str(path))
    norms = np.linalg.norm(results.features, axis=1).astype(np.float32)
    normalised = Blocks(results.features.shape, _normalised(results.features, norms))
    columns: dict[str, Any] = {"paths": results.paths, "features": normalised, "norms": norms}
    for name, dtype in DTYPES.items():
        if getattr(results, name) is not None:
            columns[name] = np.asarray(getattr(results, name), dtype)
    files.write_columns(path, columns, results.meta, {"num_query": results.num_query})


def _normalised(features: np.ndarray, norms: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the features in blocks (n, D), divided by their lengths (N,) unless these are 0."""
    lengths = np.where(norms > 0, norms, 1).astype(np.float32)
    for start in range(0, len(features), BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        yield np.asarray(features[rows], "<f4") / lengths[rows, None]


def read_results(path: str | os.PathLike[str], num_query: int | None = None) -> ResultSet:
    """Read a results file, or a feature file, which needs ``num_query``.

    Raises:
        UserError: no such file, no results, or columns that do not fit one another.
    """
    path = checked_results_name(path)
    if not path.is_file():
        raise UserError(
            f"there is no results file {str(path)!r}; an evaluation with "
            "TEST.FASTEVAL.SAVE_RESULTS npz makes one"
        )
    read = files.read_columns(path, ("paths", "features"), ("norms", *DTYPES), ("num_query",))
    columns = read.columns
    num_query = read.numbers.get("num_query", num_query)
    if num_query is None:
        raise UserError(
            f"{path} holds features without results; say with --num-query how many of its first "
            "images are the queries"
        )
    absent = [name for name in ("pids", "camids") if name not in columns]
    if absent:
        raise UserError(f"{path} lacks {' and '.join(absent)}, without which nothing can be ranked")
    if "num_query" not in read.numbers:
        # In a feature file all unknown cameras are -1; each image may match all others.
        own = FIRST_WITHOUT_CAMERA - np.arange(len(columns["camids"]))
        columns["camids"] = np.where(columns["camids"] < 0, own, columns["camids"])
    features = np.require(columns["features"], np.float32, ["C", "W"])
    norms = columns.get("norms")
    if norms is not None:
        if norms.shape != features.shape[:1]:
            raise UserError(f"{path}: norms is {norms.shape} for features {features.shape}")
        features *= np.where(norms > 0, norms, 1)[:, None]  # what has no length: as written
    results = ResultSet(
        features,
        num_query=num_query,
        paths=[str(name) for name in columns["paths"]],
        meta=read.meta,
        **{name: np.asarray(columns[name], t) for name, t in DTYPES.items() if name in columns},
    )
    results.check(str(path))
    return results


def results_name(dataset: str, save_format: str) -> str:
    """Name of the file with the results of a data set, of the format "npz" or "parquet"."""
    name = re.sub(r"[^\w.-]+", "_", dataset)
    return f"results_{name}.{save_format}"


def checked_results_name(path: str | os.PathLike[str]) -> Path:
    """Return ``path`` if its name is that of a results file, else raise UserError."""
    return files.checked_suffix(path, "results file")
