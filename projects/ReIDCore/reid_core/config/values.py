"""What a key may hold: a test and the words for it, used in messages and in docs/config.md."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from reid_common.errors import UserError

Bound = float | None


@dataclass(frozen=True)
class Allowed:
    """Values that a key may hold."""

    text: str  # what to write, as in "a number above 0"
    holds: Callable[[Any], bool]
    choices: Callable[[], Iterable[str]] | None = None  # names, for the closest one in a message

    def problem(self, key: str, value: Any) -> str | None:
        """What is wrong with the value of a key, and what to write; None if nothing is."""
        if self.holds(value):
            return None
        if self.choices is not None and isinstance(value, str):
            return unknown_name(key, value, self.choices())
        return f"{key} is {value!r}; write {self.text}"


def unknown_name(key: str, value: str, choices: Iterable[str]) -> str:
    """Say that ``value`` is none of the choices, and which is closest."""
    names = sorted(choices)
    by_lower = {name.lower(): name for name in names}
    close = difflib.get_close_matches(str(value).lower(), by_lower, n=1)
    hint = f" Did you mean {by_lower[close[0]]!r}?" if close else ""
    return f"{key}: {value!r} is unknown.{hint} Known: {', '.join(names)}."


def check_choice(key: str, value: str, choices: Iterable[str]) -> None:
    """Raise UserError, with the nearest name, when ``value`` is none of ``choices``."""
    names = list(choices)
    if value not in names:
        raise UserError(unknown_name(key, value, names))


def is_number(value: Any) -> bool:
    """Whether a value is an int or a finite float (True and False are none)."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _bounds(low: Bound, high: Bound) -> str:
    if low is not None and high is not None:
        return f" from {low} to {high}"
    return f" of at least {low}" if low is not None else f" of at most {high}" if high else ""


def number(
    low: Bound = None, high: Bound = None, *, above: Bound = None, below: Bound = None
) -> Allowed:
    """A finite number; ``low`` and ``high`` are included, ``above`` and ``below`` are not."""
    words = _bounds(low, high) + (f" above {above}" if above is not None else "")
    if below is not None:
        words += f"{' and' if words else ''} below {below}"

    def holds(value: Any) -> bool:
        return (
            is_number(value)
            and (low is None or value >= low)
            and (high is None or value <= high)
            and (above is None or value > above)
            and (below is None or value < below)
        )

    return Allowed(f"a number{words}", holds)


def whole(low: int | None = None, high: int | None = None) -> Allowed:
    """A whole number; both ends are included."""
    within = number(low, high)
    return Allowed(
        f"a whole number{_bounds(low, high)}",
        lambda value: isinstance(value, int) and within.holds(value),
    )


FLAG = Allowed("True or False", lambda value: isinstance(value, bool))
TEXT = Allowed("a text", lambda value: isinstance(value, str))


def one_of(*names: str) -> Allowed:
    """One of these names; the empty text is called none."""
    listed = ", ".join(name or repr(name) for name in names)
    return Allowed(f"one of {listed}", lambda value: value in names, lambda: names)


def registered(what: str, names: Callable[[], Iterable[str]] | Mapping[str, Any]) -> Allowed:
    """A name, such as ``what`` says, that is looked up in ``names`` when a config is checked."""
    known = names if callable(names) else lambda: list(names)
    return Allowed(what, lambda value: value in list(known()), known)


def sequence(
    item: Allowed, length: int | Sequence[int] | None = None, text: str = "", least: int = 0
) -> Allowed:
    """A list whose items are all allowed, of one of these lengths if any and of ``least`` at least.

    ``text`` is what to write; "" makes it up.
    """
    lengths = [length] if isinstance(length, int) else length

    def holds(value: Any) -> bool:
        right = isinstance(value, (list, tuple)) and all(item.holds(part) for part in value)
        return right and len(value) >= least and (lengths is None or len(value) in lengths)

    count = "" if lengths is None else f" of {' or '.join(map(str, lengths))}"
    return Allowed(text or f"a list{count}, each {item.text}", holds)


def interval(low: float = 0, high: float = math.inf) -> Allowed:
    """[low, high] of numbers above ``low`` and at most ``high``, in order."""
    most = f" <= {high:g}" if math.isfinite(high) else ""

    def holds(value: Any) -> bool:
        right = isinstance(value, (list, tuple)) and len(value) == 2 and all(map(is_number, value))
        return right and low < value[0] <= value[1] <= high

    return Allowed(f"[low, high], {low:g} < low <= high{most}", holds)


IMAGE_SIZE = sequence(whole(1), 2, "[height, width] in pixels, such as [256, 128]")
PROBABILITY = number(0, 1)
RATE = number(0, below=1)
COLOUR = sequence(number(), 3, "three numbers, of red, green and blue, in 0..255")


def _is_device(value: Any) -> bool:
    try:
        device = torch.device(value)
    except (RuntimeError, TypeError):
        return False
    if device.type == "cuda":
        # CUDA that is absent becomes the CPU.
        return not torch.cuda.is_available() or (device.index or 0) < torch.cuda.device_count()
    return device.type == "cpu" or (device.type == "mps" and torch.backends.mps.is_available())


DEVICE = Allowed("cpu, cuda, or cuda:N with the number of a GPU that is there", _is_device)
