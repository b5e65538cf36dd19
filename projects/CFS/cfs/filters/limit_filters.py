"""Filters by an image's height and width, which are read from its header."""

from __future__ import annotations

from reid_common.errors import UserError

from .base import DataFilter, Drop, Items
from .measurements import HeaderSize
from .registry import FILTER_REGISTRY, range_option


@FILTER_REGISTRY.register()
class ResolutionFilter(DataFilter):
    """Keeps images whose sizes are within limits; None is no limit.

    Args:
        min_height: in pixels, upright.
        max_height: likewise.
        min_width: in pixels.
        max_width: likewise.
        min_pixels: height times width.
        max_pixels: likewise.
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
        for (what, (low, high)), size in zip(self.limits.items(), sizes, strict=True):
            if low is not None and size < low:
                return Drop(f"{what} below {low} pixels", f"{width} x {height}")
            if high is not None and size > high:
                return Drop(f"{what} above {high} pixels", f"{width} x {height}")
        return None


@FILTER_REGISTRY.register()
class AspectRatioFilter(DataFilter):
    """Keeps images whose height divided by width is within limits; a standing person has 2 to 3.

    Args:
        min: smallest height / width; None: no limit.
        max: greatest height / width.
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
        ratio = height / width
        if self.min is not None and ratio < self.min:
            return Drop(f"height / width below {self.min}", f"{ratio:.3f}")
        if self.max is not None and ratio > self.max:
            return Drop(f"height / width above {self.max}", f"{ratio:.3f}")
        return None
