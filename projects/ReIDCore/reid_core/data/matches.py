"""Which gallery images count as a match of a query: the protocol's rule, in one place."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence


def counts(query_camera: int, match_camera: int) -> bool:
    """Whether an image of the query's identity counts: one under another camera, or a negative.

    A negative camera is not known, and counts as another one than all others.
    """
    return query_camera < 0 or match_camera < 0 or query_camera != match_camera


def unmatched_queries(
    queries: Sequence[tuple[Hashable, int]], gallery: Sequence[tuple[Hashable, int]]
) -> list[int]:
    """Indices of the queries without any match that counts; both are (identity, camera)."""
    cameras: defaultdict[Hashable, set[int]] = defaultdict(set)
    for identity, camera in gallery:
        cameras[identity].add(camera)
    return [
        index
        for index, (identity, camera) in enumerate(queries)
        if not any(counts(camera, other) for other in cameras.get(identity, ()))
    ]
