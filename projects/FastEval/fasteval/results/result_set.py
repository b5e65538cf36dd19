"""Results of an evaluation in a file: features, ids and ranked gallery, to be looked at again.

A results file is a feature file (``paths``, ``features`` L2-normalised, ``pids``, ``camids``,
``viewids``, ``meta``), which :mod:`transreid.inference.feature_files` can read, with what an
evaluation adds: ``norms``, the lengths that the features had, ``num_query``, and ``topk_indices``
and ``topk_distances``. Everything else is computed anew from it, see tools/evaluate.py.

Letters: N images, of which the first Q are queries and the other G the gallery; D dimensions; K
ranked gallery images of a query.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from reid_common.errors import UserError
from reid_common.files import replacing
from reid_core.side_information.rows import FIRST_WITHOUT_CAMERA

from .files import Columns, read_npz, read_parquet, write_npz, write_parquet

SUFFIXES = (".npz", ".parquet")


@dataclass
class ResultSet:
    """What one evaluation has seen and found.

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
        """Look whether the columns fit one another.

        Args:
            name: of the results, for the message.

        Raises:
            UserError: they do not.
        """
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
    """Write a results file; it appears under its name when it is complete.

    Args:
        path: .npz or .parquet. Parquet needs pyarrow.
        results: what to write. Features of length 0 or with NaN are written as they are.

    Raises:
        UserError: another suffix, columns that do not fit one another, or a file that cannot be
            written.
    """
    path = checked_results_name(path)
    results.check(str(path))
    norms = np.linalg.norm(results.features, axis=1).astype(np.float32)
    columns = Columns(
        paths=results.paths,
        features=results.features,
        norms=norms,
        ids={
            name: np.asarray(values, np.int64)
            for name, values in (
                ("pids", results.pids),
                ("camids", results.camids),
                ("viewids", results.viewids),
            )
            if values is not None
        },
        num_query=results.num_query,
        topk_indices=_as(results.topk_indices, np.int64),
        topk_distances=_as(results.topk_distances, np.float32),
        meta=json.dumps(results.meta, sort_keys=True),
    )
    write = write_parquet if path.suffix == ".parquet" else write_npz
    with replacing(path) as temporary:
        write(temporary, columns)


def read_results(path: str | os.PathLike[str], num_query: int | None = None) -> ResultSet:
    """Read a results file, or a feature file of tools/extract_features.py.

    Args:
        path: .npz or .parquet.
        num_query: of a feature file, which does not say how many of its first images are queries.

    Raises:
        UserError: no such file, no results, or columns that do not fit one another.
    """
    path = checked_results_name(path)
    if not path.is_file():
        raise UserError(
            f"there is no results file {str(path)!r}; an evaluation with "
            "TEST.FASTEVAL.SAVE_RESULTS npz makes one"
        )
    columns = read_parquet(path) if path.suffix == ".parquet" else read_npz(path)
    if columns.num_query is not None:
        num_query = columns.num_query
    if num_query is None:
        raise UserError(
            f"{path} holds features without results; say with --num-query how many of its first "
            "images are the queries"
        )
    absent = [name for name in ("pids", "camids") if name not in columns.ids]
    if absent:
        raise UserError(f"{path} lacks {' and '.join(absent)}, without which nothing can be ranked")
    camids = columns.ids["camids"]
    if columns.num_query is None:
        # In a feature file all unknown cameras are -1; each image may match all others.
        own = FIRST_WITHOUT_CAMERA - np.arange(len(camids))
        camids = np.where(camids < 0, own, camids)
    features = columns.features
    if columns.norms is not None:
        if columns.norms.shape != features.shape[:1]:
            raise UserError(f"{path}: norms is {columns.norms.shape} for features {features.shape}")
        # What has no length was written as it is.
        features *= np.where(columns.norms > 0, columns.norms, 1)[:, None]
    results = ResultSet(
        features,
        columns.ids["pids"],
        camids,
        num_query,
        columns.paths,
        columns.ids.get("viewids"),
        columns.topk_indices,
        columns.topk_distances,
        json.loads(columns.meta),
    )
    results.check(str(path))
    return results


def checked_results_name(path: str | os.PathLike[str]) -> Path:
    """Return ``path`` if its name is that of a results file, else raise UserError."""
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise UserError(f"{str(path)!r} is no name of a results file; end it in .npz or .parquet")
    return path


def _as(values: np.ndarray | None, dtype: Any) -> np.ndarray | None:
    return None if values is None else np.asarray(values, dtype)
