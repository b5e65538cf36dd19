"""Files of features and of rankings: what the tools hand to one another and to other programs.

A feature file is a ``.npz`` or a ``.parquet`` with the columns ``paths`` (N,), ``features`` (N, D)
float32, L2-normalised, where known ``pids``, ``camids`` and ``viewids`` (N,) int64, and ``meta``,
a JSON object: config, hash of the weights, versions. numpy alone reads the one
(``np.load(file)["features"]``), pandas or any data base the other. Nothing is pickled.

Letters: N images, D dimensions, Q queries, G gallery images, K neighbours of a query.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from reid_common.errors import UserError
from reid_common.files import replacing

from .npz_files import read_npz, write_npz
from .parquet_files import read_parquet, read_parquet_meta, write_parquet

SUFFIXES = (".npz", ".parquet")
IDS = ("pids", "camids", "viewids")
NORM_TOLERANCE = 1e-2  # float16 storage of a file made elsewhere stays within it


@dataclass
class FeatureSet:
    """Features of N images, and what is known of the images.

    Attributes:
        paths: N image files, as they were named on the command line.
        features: (N, D) float32, rows of length 1: a product of two rows is their cosine.
        pids: (N,) int64 identities, -1 = unknown; None for all unknown.
        camids: (N,) int64 0-based cameras, negative = unknown; None for all unknown.
        viewids: (N,) int64 0-based viewpoints, negative = unknown; None for all unknown.
        meta: how the features were made; must be what JSON can hold.
    """

    paths: list[str]
    features: np.ndarray
    pids: np.ndarray | None = None
    camids: np.ndarray | None = None
    viewids: np.ndarray | None = None
    meta: dict[str, Any] = field(default_factory=dict)

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
    dim = features.features.shape[-1]
    write_feature_blocks(
        path, features.paths, dim, [features.features], features.ids, features.meta
    )


def write_feature_blocks(
    path: str | os.PathLike[str],
    paths: Sequence[str],
    dim: int,
    blocks: Iterable[np.ndarray],
    ids: dict[str, np.ndarray] | None = None,
    meta: dict[str, Any] | None = None,
) -> None:
    """Write a feature file whose features come in blocks, one of which is in memory at a time.

    Args:
        path: file, .npz or .parquet.
        paths: N image files.
        dim: D.
        blocks: arrays (n, D) float32, N rows together.
        ids: any of "pids", "camids" and "viewids", (N,) int64 each.
        meta: what JSON can hold.

    Raises:
        UserError: as :func:`write_features`.
    """
    path = checked_suffix(path)
    ids = {name: np.asarray(column, np.int64) for name, column in (ids or {}).items()}
    for name, column in ids.items():
        if name not in IDS or column.shape != (len(paths),):
            raise UserError(
                f"{path}: {name} is {column.shape} for {len(paths)} images; give any of "
                f"{', '.join(IDS)}, ({len(paths)},) each"
            )
    counted = _checked_blocks(path, blocks, len(paths), dim)
    text = json.dumps(meta or {}, sort_keys=True)
    write = write_parquet if path.suffix == ".parquet" else write_npz
    with replacing(path) as temporary:
        write(temporary, list(paths), dim, counted, ids, text)


def read_features(path: str | os.PathLike[str]) -> FeatureSet:
    """Read a feature file.

    Raises:
        UserError: no such file, no feature file, or one whose columns do not fit one another.
    """
    path = _existing(path)
    if path.suffix == ".parquet":
        columns = read_parquet(path)
    else:
        columns = read_npz(path, ("paths", "features"))
    paths = [str(name) for name in columns["paths"]]
    features = np.ascontiguousarray(columns["features"], np.float32)
    if features.ndim != 2 or len(features) != len(paths):
        raise UserError(f"{path}: features are {features.shape} for {len(paths)} paths, not (N, D)")
    _check_norms(path, features)
    ids = {name: np.asarray(columns[name], np.int64) for name in IDS if name in columns}
    for name, column in ids.items():
        if column.shape != (len(paths),):
            raise UserError(f"{path}: {name} is {column.shape} for {len(paths)} paths")
    return FeatureSet(paths, features, **ids, meta=json.loads(str(columns.get("meta", "{}"))))


def read_meta(path: str | os.PathLike[str]) -> tuple[dict[str, Any], int]:
    """Read what a feature file says of itself, and N, without the features.

    Raises:
        UserError: no such file, or no feature file.
    """
    path = _existing(path)
    if path.suffix == ".parquet":
        text, count = read_parquet_meta(path)
    else:
        columns = read_npz(path, ("paths",), only=("paths", "meta"))
        text, count = str(columns.get("meta", "{}")), len(columns["paths"])
    return json.loads(text), count


def _existing(path: str | os.PathLike[str]) -> Path:
    path = checked_suffix(path)
    if not path.is_file():
        raise UserError(f"there is no feature file {str(path)!r}; run tools/extract_features.py")
    return path


@dataclass
class Ranking:
    """The nearest gallery images of each query, best first.

    Attributes:
        query_paths: Q image files.
        gallery_paths: G image files.
        indices: (Q, K) int64, positions in ``gallery_paths``; -1 where there are fewer than K.
        similarities: (Q, K) float32 cosines, -1..1, falling along a row; -inf where index is -1.
        query_pids: (Q,) int64 identities, -1 = unknown, or None.
        gallery_pids: (G,) int64, or None.
        query_camids: (Q,) int64 0-based cameras, negative = unknown, or None.
        gallery_camids: (G,) int64, or None.
    """

    query_paths: list[str]
    gallery_paths: list[str]
    indices: np.ndarray
    similarities: np.ndarray
    query_pids: np.ndarray | None = None
    gallery_pids: np.ndarray | None = None
    query_camids: np.ndarray | None = None
    gallery_camids: np.ndarray | None = None


RANKING_IDS = ("query_pids", "gallery_pids", "query_camids", "gallery_camids")


def write_ranking(path: str | os.PathLike[str], ranking: Ranking) -> None:
    """Write a ranking as .npz; it appears under its name when it is complete."""
    columns: dict[str, Any] = {
        "query_paths": np.array(ranking.query_paths, dtype=np.str_),
        "gallery_paths": np.array(ranking.gallery_paths, dtype=np.str_),
        "indices": np.asarray(ranking.indices, np.int64),
        "similarities": np.asarray(ranking.similarities, np.float32),
    }
    for name in RANKING_IDS:
        if getattr(ranking, name) is not None:
            columns[name] = np.asarray(getattr(ranking, name), np.int64)
    with replacing(Path(path)) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **columns)


def read_ranking(path: str | os.PathLike[str]) -> Ranking:
    """Read what :func:`write_ranking` wrote.

    Raises:
        UserError: no such file, or no ranking.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"there is no ranking {str(path)!r}; tools/search.py makes one")
    required = ("query_paths", "gallery_paths", "indices", "similarities")
    columns = read_npz(path, required)
    shape = columns["indices"].shape
    if len(shape) != 2 or columns["similarities"].shape != shape:
        raise UserError(f"{path}: indices and similarities are not both (Q, K)")
    if shape[0] != len(columns["query_paths"]):
        raise UserError(f"{path}: {shape[0]} rows for {len(columns['query_paths'])} queries")
    return Ranking(
        [str(name) for name in columns["query_paths"]],
        [str(name) for name in columns["gallery_paths"]],
        columns["indices"],
        columns["similarities"],
        **{name: columns[name] for name in RANKING_IDS if name in columns},
    )


def checked_suffix(path: str | os.PathLike[str]) -> Path:
    """Return ``path`` if its name is that of a feature file, else raise UserError."""
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise UserError(f"{str(path)!r} is no name of a feature file; end it in .npz or .parquet")
    return path


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
