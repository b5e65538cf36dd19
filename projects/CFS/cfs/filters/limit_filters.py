"""Filters by limits: of height and width, which are read from the header, and of sharpness."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from reid_common.errors import UserError

from .base import DataFilter, Drop, Items
from .measurements import HeaderSize, Sharpness
from .registry import FILTER_REGISTRY, number_option, range_option


@FILTER_REGISTRY.register()
class ResolutionFilter(DataFilter):
    """Keeps images whose sizes are within limits; None is no limit.

    Height and width are in pixels, upright; pixels are height times width.
    """

    measurement = HeaderSize()

    def __init__(
        self,
        min_height: int | None = None,
        max_height: int | None = None,
        min_width: int | None = None,
        max_width: int | None = None,
        min_pixels: int | None = None,
        max_pixels: int | None = None,
    ) -> None:
        self.limits = {
            "height": range_option("MIN_HEIGHT", min_height, "MAX_HEIGHT", max_height),
            "width": range_option("MIN_WIDTH", min_width, "MAX_WIDTH", max_width),
            "height times width": range_option("MIN_PIXELS", min_pixels, "MAX_PIXELS", max_pixels),
        }
        if all(limit is None for limits in self.limits.values() for limit in limits):
            raise UserError("no limit is given; write one, as in MIN_HEIGHT: 64")

    def judge(self, items: Items, row: int) -> Drop | None:
        """Drop what is beyond any limit."""
        assert items.values is not None
        height, width = items.values[row].tolist()
        sizes = (height, width, height * width)
        for (what, limits), size in zip(self.limits.items(), sizes, strict=True):
            if beyond := _beyond(what, size, *limits, " pixels"):
                return Drop(beyond, f"{width} x {height}")
        return None


@FILTER_REGISTRY.register()
class AspectRatioFilter(DataFilter):
    """Keeps images whose height divided by width is within limits; a standing person has 2 to 3.

    None is no limit.
    """

    measurement = HeaderSize()

    def __init__(self, min: float | None = None, max: float | None = None) -> None:
        self.min, self.max = range_option("MIN", min, "MAX", max)
        if self.min is None and self.max is None:
            raise UserError("no limit is given; write one, as in MIN: 1.5 (height / width)")

    def judge(self, items: Items, row: int) -> Drop | None:
        """Drop what is too wide or too high."""
        assert items.values is not None
        height, width = items.values[row].tolist()
        beyond = _beyond("height / width", height / width, self.min, self.max)
        return Drop(beyond, f"{height / width:.3f}") if beyond else None


@FILTER_REGISTRY.register()
class BlurFilter(DataFilter):
    """Keeps images that are sharp: by the variance of their Laplacian at one size.

    Args:
        min: smallest variance, in squared grey values (0..255); what is right depends on the data:
            look at the details in filters_dropped.csv.
        size: (height, width) in pixels that images are brought to before.
    """

    def __init__(self, min: float, size: Sequence[int] = (128, 64)) -> None:
        self.min = number_option("MIN", min)
        if self.min is None:
            raise UserError("MIN is None; write the smallest variance, as in MIN: 50")
        right = isinstance(size, (list, tuple)) and len(size) == 2
        if not right or not all(type(side) is int and side >= 8 for side in size):
            raise UserError(f"SIZE is {size!r}; write [height, width] in pixels, as in [128, 64]")
        self.measurement = Sharpness((size[0], size[1]))

    def judge(self, items: Items, row: int) -> Drop | None:
        """Drop what is not sharp enough."""
        assert items.values is not None
        sharpness = float(items.values[row, 0])
        beyond = _beyond("sharpness", sharpness, self.min, None)
        return Drop(beyond, f"{sharpness:.2f}") if beyond else None


def _beyond(what: str, number: float, low: Any, high: Any, unit: str = "") -> str:
    """Which limit a number is beyond; "" for none."""
    if low is not None and number < low:
        return f"{what} below {low}{unit}"
    return f"{what} above {high}{unit}" if high is not None and number > high else ""
