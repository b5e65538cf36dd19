"""Pairs of the images of a feature file with labels: from a CSV, or from identities."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from reid_common.errors import UserError
from reid_common.tables import cell_text, read_rows

from .feature_files import FeatureSet
from .pairs import identity_pairs

COLUMNS = ("image_a", "image_b", "same")


def read_pairs(path: Path, features: FeatureSet) -> tuple[np.ndarray, np.ndarray]:
    """Read a CSV of labelled pairs.

    Args:
        path: CSV with the columns image_a, image_b, same; paths as in the feature file, or relative
            to the folder of the CSV.
        features: where the images must be.

    Returns:
        (P, 2) positions in ``features``; (P,) True for the same identity.

    Raises:
        UserError: no such file, a malformed row, an image that has no feature or is paired with
            itself, or a pair with both labels; line is named.
    """
    if not path.is_file():
        raise UserError(f"there is no file {str(path)!r}; give a CSV with {', '.join(COLUMNS)}")
    known = {os.path.abspath(name): row for row, name in enumerate(features.paths)}
    pairs, same = [], []
    labelled: dict[tuple[int, ...], tuple[str, str]] = {}  # pair -> label, where it was read
    for place, cells in read_rows(str(path), COLUMNS, COLUMNS):
        row = {name: cell_text(cells[name]) for name in COLUMNS}
        if row["same"] not in ("0", "1"):
            raise UserError(f"{place}: same is {row['same']!r}; write 1 or 0")
        pair = [_position(row[name], path, known, place) for name in COLUMNS[:2]]
        if pair[0] == pair[1]:
            raise UserError(
                f"{place}: {row['image_a']!r} is paired with itself, which says nothing about a "
                "threshold; remove the row"
            )
        label, first = labelled.setdefault(tuple(sorted(pair)), (row["same"], place))
        if label != row["same"]:
            raise UserError(
                f"{place}: {row['image_a']!r} and {row['image_b']!r} have same {row['same']} here "
                f"and {label} in {first}; keep the row that is right"
            )
        pairs.append(pair)
        same.append(row["same"] == "1")
    return np.array(pairs, np.int64).reshape(-1, 2), np.array(same, bool)


def _position(name: str, listed_in: Path, known: dict[str, int], place: str) -> int:
    for path in (name, os.path.join(listed_in.parent, name)):
        if os.path.abspath(path) in known:
            return known[os.path.abspath(path)]
    raise UserError(f"{place}: {name!r} is not in the feature file; name it as it is there")


def pairs_of_identities(
    features: FeatureSet, path: str, across_cameras: bool, max_pairs: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs from the identities of a feature file: positions (P, 2), and (P,) True for the same.

    Args:
        features: of the file.
        path: of the file, for messages.
        across_cameras: only pairs of two cameras.
        max_pairs: most pairs of either kind; beyond it a random sample.
        seed: of that sample.

    Raises:
        UserError: the file has no identities, or none of the cameras that are needed.
    """
    if features.pids is None:
        raise UserError(
            f"{path} holds no identities; extract it from a CSV with the column identity"
        )
    if across_cameras and features.camids is None:
        raise UserError(f"{path} holds no cameras, which --across-cameras needs")
    cameras = features.camids if across_cameras else None
    return identity_pairs(features.pids, cameras, max_pairs, seed)
