"""What is unknown to the SIE: the policies, and what an image gets from the table under each.

Letters: C cameras, V viewpoints, D dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from reid_common.errors import UserError
from reid_core.config.values import check_choice
from torch import Tensor

POLICIES = ("mean", "zero", "error")
KEYS = {"camids": "MODEL.SIE.NUM_CAMERAS", "viewids": "MODEL.SIE.NUM_VIEWS"}


def unknown_rows(
    grid: Tensor, known: Tensor | None, zero: bool, parts: Sequence[Tensor] = ()
) -> list[Tensor]:
    """The rows of an unknown camera at each viewpoint, of each camera, and of neither.

    Args:
        grid: S of each pair (C, V, 1, D).
        known: (C, V) bool, the pairs that were trained, which alone count; None: all.
        zero: nothing is added for what is unknown (MODEL.SIE.UNKNOWN), else the mean is.
        parts: of an additive table the rows of its viewpoints (V, 1, D) and cameras (C, 1, D).

    Returns:
        (V, 1, D), (C, 1, D) and (1, 1, D). A viewpoint or camera without a known pair has the last.
    """
    if zero:
        found = list(parts) or [torch.zeros_like(grid[0]), torch.zeros_like(grid[:, 0])]
        nothing = torch.zeros_like(grid[:1, 0])
    elif known is None:
        return [grid.mean(0), grid.mean(1), grid.mean((0, 1)).unsqueeze(0)]
    else:
        weights = known[..., None, None].to(grid.dtype)
        sums, count = grid * weights, weights.sum((0, 1)).clamp(min=1)
        found = [sums.sum(axis) / weights.sum(axis).clamp(min=1) for axis in (0, 1)]
        nothing = (sums.sum((0, 1)) / count).unsqueeze(0)
    if known is not None:
        found = [
            torch.where(known.any(axis)[:, None, None], rows, nothing)
            for axis, rows in enumerate(found)
        ]
    return [*found, nothing]


def fill_untrained(
    grid: Tensor, known: Tensor, of_views: Tensor, of_cameras: Tensor, _: Tensor
) -> Tensor:
    """S of each pair (C, V, 1, D) with the rows of :func:`unknown_rows` for what was not trained.

    A pair that never met, of a trained camera, has what the camera has without a viewpoint; one of
    a camera that was not trained what its viewpoint has without a camera.
    """
    trained_camera = known.any(1)[:, None, None, None]
    substitute = torch.where(trained_camera, of_cameras[:, None], of_views[None])
    return torch.where(known[..., None, None], grid, substitute)


def check_policy(unknown: str, camera_dropout: float, num_cameras: int) -> None:
    """Check how unknown cameras are embedded, of ``num_cameras`` (0 where none is embedded).

    Raises:
        UserError: an unknown policy, or a dropout that is out of range or has nothing to drop to.
    """
    check_choice("MODEL.SIE.UNKNOWN", unknown, POLICIES)
    key = f"MODEL.SIE.CAMERA_DROPOUT is {camera_dropout}"
    if not 0 <= camera_dropout < 1:
        raise UserError(f"{key}; set a probability, at least 0 and below 1")
    if camera_dropout and unknown == "error":
        raise UserError(
            f"{key}, so that cameras count as unknown in training, but MODEL.SIE.UNKNOWN is error; "
            "set that to mean or zero, or the dropout to 0"
        )
    if camera_dropout and not num_cameras:
        raise UserError(f"{key}, but no camera is embedded: set MODEL.SIE.CAMERA True, or it to 0")


def check_range(name: str, size: int, low: int, high: int, unknown: str) -> None:
    """Raise UserError where an id is too high or, with the policy "error", negative.

    Args:
        name: of KEYS.
        size: number of cameras or viewpoints.
        low: the lowest id.
        high: the highest.
        unknown: the policy.
    """
    key = KEYS[name]
    if low < 0 and unknown == "error":
        raise UserError(
            f"{name} holds {low}: an image of a camera or view that the model was not trained "
            f"with (negative ids mean unknown); {key} is {size}, and MODEL.SIE.UNKNOWN is "
            "error. Set that to mean or zero, or evaluate on the training cameras"
        )
    if high >= size:
        raise UserError(
            f"{name} holds {high}, but {key} is {size} (ids are 0-based, so at most "
            f"{size - 1}); set {key} to at least {high + 1}, or to 0 to take it from the "
            "training set"
        )
