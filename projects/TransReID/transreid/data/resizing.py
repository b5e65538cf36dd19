"""What a test transform does to an image, for whoever does it elsewhere: one reading for all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Resizing:
    """A resize by Pillow, and the centre that is kept after it.

    Attributes:
        size: (height, width); one number is the shorter side; empty: no resize.
        interpolation: as torchvision calls it; "" with no resize.
        crop: (height, width) of the centre; None: all of it.
        strange: class of the first step that is neither of these, nor a conversion; "" = none.
    """

    size: tuple[int, ...] = ()
    interpolation: str = ""
    crop: tuple[int, ...] | None = None
    strange: str = ""


def resizing_of(transform: Any) -> Resizing:
    """Read a test transform of FastReID's build_transforms."""
    found: dict[str, Any] = {}
    for step in getattr(transform, "transforms", [transform]):
        kind = type(step).__name__
        if kind == "Resize" and not found:
            found["size"] = _sides(step.size)
            found["interpolation"] = str(getattr(step.interpolation, "value", step.interpolation))
        elif kind == "CenterCrop" and "crop" not in found:
            found["crop"] = _sides(step.size)
        elif kind != "ToTensor":
            found.setdefault("strange", kind)
    return Resizing(**found)


def _sides(size: Any) -> tuple[int, ...]:
    return (size,) if isinstance(size, int) else tuple(int(side) for side in size)
