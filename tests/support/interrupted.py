"""A function that is interrupted, as by Ctrl-C."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Interrupted:
    """Lets ``function`` run ``left`` times, then interrupts."""

    def __init__(self, function: Callable[..., Any], left: int) -> None:
        self.function, self.left = function, left

    def __call__(self, *args: Any) -> Any:
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1
        return self.function(*args)
