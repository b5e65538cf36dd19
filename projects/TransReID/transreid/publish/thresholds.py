"""Thresholds of ``transreid calibrate``, as a published folder carries them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from reid_common.digests import file_digest
from reid_common.errors import UserError
from reid_common.files import read_json

from .places import local_name

CALIBRATION = "calibration.json"
POINT = (
    *("wanted_far", "threshold", "far", "far_interval", "tar", "tar_interval"),
    *("num_positive", "num_negative", "supported", "remark"),
)
ABOUT = ("across_cameras", "num_positive", "num_negative")


def read_thresholds(place: Path, weights: str) -> dict[str, Any]:
    """Content of ``threshold.json``, from a folder or file of ``transreid calibrate``.

    Args:
        place: calibration.json, or its folder.
        weights: file of the model that is published, whose features were calibrated.

    Raises:
        UserError: no calibration, or one of other weights.
    """
    file = place / CALIBRATION if place.is_dir() else place
    content = read_json(file)
    points = content.get("points") if isinstance(content, dict) else None
    if not points:
        raise UserError(f"{str(file)!r} has no thresholds; make some with transreid calibrate")
    if content.get("weights_sha256") != file_digest(weights):
        raise UserError(
            f"{str(file)!r} was calibrated with features of other weights than {weights!r}; "
            "extract and calibrate with these, or leave --calibration out"
        )
    return {
        "measure": "cosine similarity of L2-normalised features; same identity from threshold on",
        "pairs": local_name(str(content.get("pairs", ""))),
        **{key: content[key] for key in ABOUT if key in content},
        "points": [{key: point[key] for key in POINT if key in point} for point in points],
    }
