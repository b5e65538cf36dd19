"""When too little is left: a result from nothing, or from far fewer items than were given."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping

from .errors import UserError

MOST = 0.5  # greatest share of items that may be left out, where nothing else is said
MAX_NAMED = 5  # reasons


def check_left_out(
    count: int,
    reasons: Iterable[str] | Mapping[str, int],
    what: str,
    most: float = MOST,
    remedy: str = "",
) -> None:
    """Check that enough of what was given is left.

    Args:
        count: items that were given.
        reasons: of each item that is left out, or how many there are of each.
        what: "images of features.npz".
        most: greatest share, 0..1, of the items that may be left out; never all of them.
        remedy: what to do, such as which option allows a greater share.

    Raises:
        UserError: nothing was given, nothing is left, or more than ``most`` is left out.
    """
    if not count:
        raise UserError(f"there are no {what}. {remedy}".strip())
    reasons = Counter(reasons)
    left_out = sum(reasons.values())
    if left_out < count and left_out <= most * count:
        return
    how_many = "all" if left_out >= count else f"{left_out}"
    more = "" if left_out >= count else f", more than the share of {most:g} that may be"
    text = f"{how_many} of the {count} {what} are left out{more} ({counted(reasons)})"
    raise UserError(f"{text}. {remedy}".strip())


def counted(reasons: Mapping[str, int]) -> str:
    """The most frequent reasons and how often each is given: "4 no image; 2 empty file".

    Reasons that differ in numbers alone, as of bytes that are missing, are one.
    """
    alike = {re.sub(r"\d+", "0", reason): reason for reason in reversed([*reasons])}
    counts = Counter[str]()
    for reason, number in reasons.items():
        counts[alike[re.sub(r"\d+", "0", reason)]] += number
    named = counts.most_common(MAX_NAMED)
    parts = [f"{number} {reason}" for reason, number in named]
    others = sum(counts.values()) - sum(number for _, number in named)
    return "; ".join([*parts, *([f"{others} others"] if others else [])])
