"""What an image gets whose camera, viewpoint, or pair of both has no trained row of the SIE table.

Letters: C cameras, V viewpoints (1 where an axis is not embedded), D dimensions.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class UnknownRows(NamedTuple):
    """Rows for what is not known."""

    of_views: Tensor  # (V, 1, D): the viewpoint is known, the camera is not
    of_cameras: Tensor  # (C, 1, D): the camera is known, the viewpoint is not
    of_none: Tensor  # (1, 1, D)


def mean_rows(grid: Tensor, known: Tensor) -> UnknownRows:
    """Means of the rows that an image may be of, trained ones alone.

    Args:
        grid: S of each pair, (C, V, 1, D).
        known: pairs that were trained, (C, V) bool, at least one.

    Returns:
        A camera or viewpoint without any trained pair gets the mean of all.
    """
    weights = known.to(grid.dtype)[:, :, None, None]
    rows, everything = grid * weights, weights.sum()
    mean = rows.sum((0, 1)).unsqueeze(0) / everything
    means = []
    for axis in (0, 1):
        count = weights.sum(axis)
        means.append(torch.where(count > 0, rows.sum(axis) / count.clamp(min=1), mean))
    return UnknownRows(means[0], means[1], mean)


def zero_rows(grid: Tensor) -> UnknownRows:
    """Nothing is added."""
    zero = torch.zeros_like(grid)
    return UnknownRows(zero[0], zero[:, 0], zero[:1, 0])


def part_rows(cameras: Tensor, views: Tensor, known: Tensor) -> UnknownRows:
    """Of an additive table, (C, 1, D) and (V, 1, D): the part that is known alone."""
    of_cameras = cameras * known.any(1).to(cameras.dtype)[:, None, None]
    of_views = views * known.any(0).to(views.dtype)[:, None, None]
    return UnknownRows(of_views, of_cameras, torch.zeros_like(cameras[:1]))


def filled(grid: Tensor, known: Tensor, unknown: UnknownRows) -> Tensor:
    """The grid (C, V, 1, D) with the rows that were not trained replaced.

    A pair that was not trained counts as of an unknown viewpoint if its camera was trained with
    other ones, else as of an unknown camera.
    """
    camera_known = known.any(1)[:, None, None, None]
    instead = torch.where(camera_known, unknown.of_cameras[:, None], unknown.of_views[None])
    return torch.where(known[:, :, None, None], grid, instead)
