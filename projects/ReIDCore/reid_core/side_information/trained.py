"""Which rows of the SIE table were trained: the others are unknown, not random.

A table may have more rows than its training images showed: MODEL.SIE.NUM_CAMERAS above the cameras
of the training set, gaps in their numbers, viewpoints or pairs without an image. The marks of the
trained ones are stored with the model ("trained"). Letters: C cameras, V viewpoints, 1 where an
axis is not embedded; B images.
"""

from __future__ import annotations

import torch
from torch import Tensor


def trained_pairs(camids: Tensor, viewids: Tensor, num_cameras: int, num_views: int) -> Tensor:
    """Mark the pairs of a camera and a viewpoint that images show.

    An image that lacks one of the two trains all rows that it may be, through their mean; it counts
    where its camera (viewpoint) has no image with both.

    Args:
        camids: (B,) 0-based rows of cameras, negative = unknown.
        viewids: (B,) 0-based viewpoints, likewise.
        num_cameras: size of the camera axis, 0 for an embedding of viewpoints only.
        num_views: size of the viewpoint axis, 0 for an embedding of cameras only.

    Returns:
        (C, V) uint8: 1 = trained.
    """
    cameras = camids.long() if num_cameras else torch.zeros_like(viewids, dtype=torch.long)
    views = viewids.long() if num_views else torch.zeros_like(camids, dtype=torch.long)
    marks = torch.zeros(max(num_cameras, 1), max(num_views, 1), dtype=torch.uint8)
    both = (cameras >= 0) & (views >= 0)
    marks[cameras[both], views[both]] = 1
    cameras_alone = cameras[(cameras >= 0) & (views < 0)].unique()
    views_alone = views[(cameras < 0) & (views >= 0)].unique()
    cameras_alone = cameras_alone[~marks[cameras_alone].any(1)]
    views_alone = views_alone[~marks[:, views_alone].any(0)]
    marks[cameras_alone] = 1
    marks[:, views_alone] = 1
    return marks


def known_pairs(marks: Tensor, additive: bool = False) -> Tensor:
    """Which pairs have a row of their own, (C, V) bool, by the marks (C, V) of the trained ones.

    Without any mark (a model that was never trained) all pairs have. Of an additive table a pair
    has where its camera and its viewpoint were trained, be it with others.
    """
    trained = marks.bool()
    if additive:
        trained = trained.any(1, keepdim=True) & trained.any(0, keepdim=True)
    return trained | ~trained.any()
