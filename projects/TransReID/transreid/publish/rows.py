"""Rows of a model's side information, by name, and which of them training images had."""

from __future__ import annotations

from reid_core.side_information.rows import CameraTable
from reid_core.side_information.trained import trained_ids

from ..inference.extractor import FeatureExtractor
from ..modeling.features import side_embedding_of


def _trained(extractor: FeatureExtractor, axis: int) -> list[bool]:
    """Of each camera (axis 0) or viewpoint (1) whether a training image had it; [] for none."""
    sie = side_embedding_of(extractor.model)
    if sie is None:
        return []
    trained = trained_ids(sie.known())[axis]
    return [row in trained for row in range(sie.num_views if axis else sie.num_cameras)]


def camera_rows(extractor: FeatureExtractor) -> list[list[str]]:
    """(row, "market1501, camera 3", "yes" or "no") of each camera; cameras count from 0."""
    trained = _trained(extractor, 0)
    known = CameraTable.parse(extractor.cameras).cameras() if extractor.cameras else []
    names = [f"{name}, camera {camera}" for name, camera in known][: len(trained)]
    names += ["not named"] * (len(trained) - len(names))
    return [
        [str(row), name, "yes" if seen else "no"]
        for row, (name, seen) in enumerate(zip(names, trained, strict=True))
    ]


def view_rows(extractor: FeatureExtractor) -> list[list[str]]:
    """Likewise (row, "viewpoint 3", ...) of each viewpoint."""
    trained = _trained(extractor, 1)
    return [
        [str(row), f"viewpoint {row}", "yes" if seen else "no"] for row, seen in enumerate(trained)
    ]


def known_pairs(extractor: FeatureExtractor) -> list[tuple[int, int]]:
    """Pairs of a camera and a viewpoint that the model has something for; -1 = unknown, or none."""
    sie = side_embedding_of(extractor.model)
    if sie is None:
        return [(-1, -1)]
    pairs = [(camera, view) for camera, view in sie.known().cpu().nonzero().tolist()]
    return pairs if sie.unknown == "error" else [(-1, -1), *pairs]
