"""Which rows of an SIE table were trained: the record that is stored with a model.

A table may have rows that no training image has: of cameras that a size leaves room for, of
viewpoints that only the test set has, of a camera and a viewpoint that never meet. They keep their
initial values, so that an image that takes one gets noise. The record tells them apart; everything
else counts as unknown (MODEL.SIE.UNKNOWN).

It has a number for each of the C * V pairs of a camera and a viewpoint, in the order of
:func:`.rows.sie_rows`. Models that were trained before it was kept have no record: all their rows
count as trained.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

RECORD = "trained_rows"  # name of the buffer in a checkpoint
UNTRAINED, TRAINED = 0, 1
INITIAL = 2  # of a model that no training has seen yet; counts as trained


def pairs_of_images(
    cameras: Sequence[int], views: Sequence[int], num_cameras: int, num_views: int
) -> Tensor:
    """Which pairs the training images are of: (C, V) bool, C or V 1 where it is not embedded.

    A camera whose images all lack the viewpoint trains the mean of its rows: it has every viewpoint
    that another camera has, or all where none has any. Likewise a viewpoint without cameras.

    Args:
        cameras: row of each image's camera, negative = unknown; ignored where ``num_cameras`` is 0.
        views: viewpoint of each image, likewise.
        num_cameras: size of the camera axis, 0 where it is not embedded.
        num_views: likewise.
    """
    camera_of, view_of = _one_hot(cameras, num_cameras), _one_hot(views, num_views)
    pairs = camera_of.T @ view_of > 0  # (C, V)
    seen_cameras, seen_views = camera_of.sum(0) > 0, view_of.sum(0) > 0
    alone = seen_cameras & ~pairs.any(1), seen_views & ~pairs.any(0)
    pairs |= alone[0][:, None] & (seen_views | ~seen_views.any())
    pairs |= alone[1] & (seen_cameras | ~seen_cameras.any())[:, None]
    return pairs


def _one_hot(ids: Sequence[int], size: int) -> Tensor:
    """(N, size) of 0 and 1, all 0 for a negative id; one place for all where the size is 0."""
    given = torch.as_tensor(ids).long()
    if not size:
        given, size = torch.zeros_like(given), 1
    return (given[:, None] == torch.arange(size)).float()


def known_pairs(record: Tensor, num_cameras: int, num_views: int, additive: bool) -> Tensor:
    """Pairs (C, V) bool that a record calls trained.

    Of an additive table these are all pairs of a trained camera and a trained viewpoint.
    """
    pairs = (record != UNTRAINED).unflatten(0, (max(num_cameras, 1), max(num_views, 1)))
    return pairs.any(1)[:, None] & pairs.any(0) if additive else pairs


def trained_ids(known: Tensor) -> list[list[int]]:
    """0-based cameras, then viewpoints, that are in a pair (C, V) of :func:`known_pairs`."""
    return [known.any(axis).nonzero().flatten().tolist() for axis in (1, 0)]


def record_of(stored: Mapping[str, Tensor], rows: int) -> Tensor:
    """The record (rows,) of a checkpoint's SIE tensors; all trained where it has none."""
    record = stored.get(RECORD)
    return torch.full((rows,), TRAINED, dtype=torch.uint8) if record is None else record
