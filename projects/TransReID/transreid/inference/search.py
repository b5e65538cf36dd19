"""Nearest images of a gallery by cosine similarity, exactly, with FAISS.

Letters: Q queries, G gallery images, D dimensions, K neighbours.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable

import faiss
import numpy as np
from reid_common.digests import differences
from reid_common.errors import UserError

from .feature_files import SAME_SPACE, FeatureSet, Ranking

BLOCK = 1024  # rows that FAISS gets at once


def rank_gallery(
    query: FeatureSet,
    gallery: FeatureSet,
    top: int = 10,
    keep_self: bool = False,
    progress: Callable[[range], Iterable[int]] = iter,
) -> Ranking:
    """Find the ``top`` gallery images of each query.

    Args:
        query: Q features.
        gallery: G features, made with the same weights and config.
        top: K; rows are filled up with -1 where the gallery has fewer images.
        keep_self: False leaves out of a query's row the gallery entries of the very same file.
        progress: wraps the range of query blocks, as tqdm does.

    Returns:
        The ranking; of equal similarities the first in the gallery comes first.

    Raises:
        UserError: features that cannot be compared, an empty side, ``top`` below 1.
    """
    check_comparable(query, gallery)
    if top < 1:
        raise UserError(f"top is {top}; ask for at least 1 neighbour")
    own = {} if keep_self else _positions_of_queries(query.paths, gallery.paths)
    # So many more are asked for as may have to be left out.
    wanted = min(top + max(map(len, own.values()), default=0), len(gallery))
    index = faiss.IndexFlatIP(gallery.features.shape[1])
    for start in range(0, len(gallery), BLOCK):
        index.add(np.ascontiguousarray(gallery.features[start : start + BLOCK], np.float32))
    indices = np.full((len(query), top), -1, np.int64)
    similarities = np.full((len(query), top), -np.inf, np.float32)
    for start in progress(range(0, len(query), BLOCK)):
        block = np.ascontiguousarray(query.features[start : start + BLOCK], np.float32)
        found, neighbours = index.search(block, wanted)
        for row in range(len(block)):
            order = np.lexsort((neighbours[row], -found[row]))
            left_out = own.get(start + row, set())
            kept = [i for i in order if neighbours[row, i] not in left_out][:top]
            indices[start + row, : len(kept)] = neighbours[row, kept]
            similarities[start + row, : len(kept)] = found[row, kept]
    ids = query.pids, gallery.pids, query.camids, gallery.camids
    return Ranking(query.paths, gallery.paths, indices, similarities, *ids)


def check_comparable(
    query: FeatureSet, gallery: FeatureSet, names: tuple[str, str] = ("query", "gallery")
) -> None:
    """Raise UserError, naming the sides, where a product of their features means nothing."""
    for name, side in zip(names, (query, gallery), strict=True):
        if not len(side):
            raise UserError(f"the {name} holds no features")
    ours, theirs = query.features.shape[1], gallery.features.shape[1]
    if ours != theirs:
        raise UserError(
            f"{names[0]} features have {ours} numbers, {names[1]} features {theirs}; make both "
            "with the same config, weights and --global-only"
        )
    different = differences(query.meta, gallery.meta, SAME_SPACE)
    if different:
        raise UserError(
            f"{names[0]} and {names[1]} features were made with another "
            f"{' and another '.join(different)}: their similarity means nothing; extract one of "
            "them again"
        )


def _positions_of_queries(queries: list[str], gallery: list[str]) -> dict[int, set[int]]:
    """Gallery positions of each query's own file, where there are any."""
    positions: defaultdict[str, set[int]] = defaultdict(set)
    own = [*map(os.path.abspath, queries)]
    wanted = set(own)
    for position, path in enumerate(map(os.path.abspath, gallery)):
        if path in wanted:
            positions[path].add(position)
    return {row: positions[path] for row, path in enumerate(own) if path in positions}
