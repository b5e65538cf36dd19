"""Files of features and of rankings: what the tools hand to one another and to other programs.

A feature file is a ``.npz`` or a ``.parquet`` with the columns ``paths`` (N,), ``features`` (N, D)
float32, L2-normalised, where known ``pids``, ``camids`` and ``viewids`` (N,) int64, and ``meta``,
a JSON object: config, hash of the weights, versions. See :mod:`reid_common.column_files`.

Letters: N images, D dimensions, Q queries, G gallery images, K neighbours of a query.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from reid_common.column_files import files
from reid_common.column_files.columns import Blocks
from reid_common.column_files.npz import read_npz, write_npz
from reid_common.errors import UserError
from reid_common.files import replacing

IDS = ("pids", "camids", "viewids")
NORM_TOLERANCE = 1e-2  # float16 storage of a file made elsewhere stays within it
# What must agree for features to be comparable: key in the meta data -> name in messages.
SAME_SPACE = {"config": "config", "weights_sha256": "weights file"}


@dataclass
class FeatureSet:
    """Features of N images, and what is known of the images: (N,) int64, None = all unknown."""

    paths: list[str]  # image files, as they were named on the command line
    features: np.ndarray  # (N, D) float32, rows of length 1: a product of two is their cosine
    pids: np.ndarray | None = None  # identities, -1 = unknown
    camids: np.ndarray | None = None  # 0-based cameras, negative = unknown
    viewids: np.ndarray | None = None  # 0-based viewpoints, negative = unknown
    meta: dict[str, Any] = field(default_factory=dict)  # how they were made, as JSON can hold it

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def ids(self) -> dict[str, np.ndarray]:
        """Those of ``pids``, ``camids`` and ``viewids`` that are known."""
        return {name: getattr(self, name) for name in IDS if getattr(self, name) is not None}


def write_features(path: str | os.PathLike[str], features: FeatureSet) -> None:
    """Write a feature file; it appears under its name when it is complete.

    Raises:
        UserError: another suffix than .npz or .parquet, columns that do not fit one another,
            features that are not normalised, or a file that cannot be written.
    """
    rows = features.features
    write_feature_blocks(path, features.paths, rows.shape[-1], [rows], features.ids, features.meta)


def write_feature_blocks(
    path: str | os.PathLike[str],
    paths: Sequence[str],
    dim: int,
    blocks: Iterable[np.ndarray],
    ids: dict[str, np.ndarray] | None = None,
    meta: dict[str, Any] | None = None,
) -> None:
    """Write a feature file whose features come in blocks, one of which is in memory at a time.

    As :func:`write_features`, but for ``blocks``: arrays (n, dim) float32, N rows together.
    """
    path = checked_suffix(path)
    ids = {name: np.asarray(column, np.int64) for name, column in (ids or {}).items()}
    for name, column in ids.items():
        if name not in IDS or column.shape != (len(paths),):
            raise UserError(
                f"{path}: {name} is {column.shape} for {len(paths)} images; give any of "
                f"{', '.join(IDS)}, ({len(paths)},) each"
            )
    counted = Blocks((len(paths), dim), _checked_blocks(path, blocks, len(paths), dim))
    files.write_columns(path, {"paths": list(paths), "features": counted, **ids}, meta or {})


def read_features(path: str | os.PathLike[str]) -> FeatureSet:
    """Read a feature file.

    Raises:
        UserError: no such file, no feature file, or one whose columns do not fit one another.
    """
    path = _existing(path)
    read = files.read_columns(path, ("paths", "features"), IDS)
    columns = read.columns
    paths = [str(name) for name in columns["paths"]]
    features = np.ascontiguousarray(columns["features"], np.float32)
    if features.ndim != 2 or len(features) != len(paths):
        raise UserError(f"{path}: features are {features.shape} for {len(paths)} paths, not (N, D)")
    _check_norms(path, features)
    ids = {name: np.asarray(columns[name], np.int64) for name in IDS if name in columns}
    for name, column in ids.items():
        if column.shape != (len(paths),):
            raise UserError(f"{path}: {name} is {column.shape} for {len(paths)} paths")
    return FeatureSet(paths, features, **ids, meta=read.meta)


def read_meta(path: str | os.PathLike[str]) -> tuple[dict[str, Any], int]:
    """Read what a feature file says of itself, and N, without the features.

    Raises:
        UserError: no such file, or no feature file.
    """
    read = files.read_columns(_existing(path), ("paths",))
    return read.meta, len(read.columns["paths"])


def _existing(path: str | os.PathLike[str]) -> Path:
    path = checked_suffix(path)
    if not path.is_file():
        raise UserError(f"there is no feature file {str(path)!r}; run tools/extract_features.py")
    return path


@dataclass
class Ranking:
    """The nearest gallery images of each query, best first; ids are those of a feature file."""

    query_paths: list[str]  # Q image files
    gallery_paths: list[str]  # G image files
    indices: np.ndarray  # (Q, K) int64, rows of the gallery; -1 where there are fewer than K
    similarities: np.ndarray  # (Q, K) float32 cosines, falling along a row; -inf where index is -1
    query_pids: np.ndarray | None = None
    gallery_pids: np.ndarray | None = None
    query_camids: np.ndarray | None = None
    gallery_camids: np.ndarray | None = None


RANKING_IDS = ("query_pids", "gallery_pids", "query_camids", "gallery_camids")


def write_ranking(path: str | os.PathLike[str], ranking: Ranking) -> None:
    """Write a ranking as .npz; it appears under its name when it is complete."""
    columns = {name: column for name, column in vars(ranking).items() if column is not None}
    for name in columns.keys() - {"query_paths", "gallery_paths"}:
        kind = np.float32 if name == "similarities" else np.int64
        columns[name] = np.asarray(columns[name], kind)
    with replacing(Path(path)) as temporary:
        write_npz(temporary, columns)


def read_ranking(path: str | os.PathLike[str]) -> Ranking:
    """Read what :func:`write_ranking` wrote.

    Raises:
        UserError: no such file, or no ranking.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"there is no ranking {str(path)!r}; tools/search.py makes one")
    required = ("query_paths", "gallery_paths", "indices", "similarities")
    columns: dict[str, Any] = {**read_npz(path, required, RANKING_IDS)}
    columns |= {name: [str(file) for file in columns[name]] for name in required[:2]}
    ranking = Ranking(**columns)
    shape = ranking.indices.shape
    if len(shape) != 2 or ranking.similarities.shape != shape:
        raise UserError(f"{path}: indices and similarities are not both (Q, K)")
    if shape[0] != len(ranking.query_paths):
        raise UserError(f"{path}: {shape[0]} rows for {len(ranking.query_paths)} queries")
    return ranking


def checked_suffix(path: str | os.PathLike[str]) -> Path:
    """Return ``path`` if its name is that of a feature file, else raise UserError."""
    return files.checked_suffix(path, "feature file")


def _checked_blocks(
    path: Path, blocks: Iterable[np.ndarray], count: int, dim: int
) -> Iterator[np.ndarray]:
    rows = 0
    for block in blocks:
        if block.ndim != 2 or block.shape[1] != dim:
            raise UserError(f"{path}: a block of features is {block.shape}, not (n, {dim})")
        _check_norms(path, block)
        rows += len(block)
        if rows > count:
            break
        yield np.ascontiguousarray(block, np.float32)
    if rows != count:
        raise UserError(f"{path}: {rows} features for {count} paths; give one for each")


def _check_norms(path: Path, features: np.ndarray) -> None:
    norms = np.linalg.norm(features, axis=1)
    wrong = ~(np.abs(norms - 1) < NORM_TOLERANCE)  # in this form NaN is wrong, too
    if wrong.any():
        row = int(np.argmax(wrong))
        raise UserError(
            f"{path}: feature {row} has length {norms[row]:.4g}, not 1; divide each feature by its "
            "length"
        )
