"""Progress of what takes long; what is finished before they would appear shows none."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")
DELAY_SECONDS = 5.0


def shown(items: Iterable[Item], what: str, total: int | None = None) -> Iterable[Item]:
    """Iterate over ``items``; after some seconds show how far it is and how long it will take."""
    return tqdm(items, what, total, delay=DELAY_SECONDS, leave=False)
