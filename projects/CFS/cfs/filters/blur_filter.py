"""A filter by sharpness."""

from __future__ import annotations

from collections.abc import Sequence

from reid_common.errors import UserError

from .base import DataFilter, Drop, Items
from .measurements import Sharpness
from .registry import FILTER_REGISTRY, number_option


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
        if sharpness < self.min:
            return Drop(f"sharpness below {self.min}", f"{sharpness:.2f}")
        return None
