"""What a file of columns may hold, and whether it holds what is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import UserError


@dataclass
class Blocks:
    """A matrix of float32 in blocks of rows, one of which is in memory at a time."""

    shape: tuple[int, int]  # (N, D)
    rows: Iterable[np.ndarray]  # (n, D) float32 each, N rows together


Column = list[str] | np.ndarray | Blocks


def check_present(path: Path, required: Sequence[str], names: Sequence[str]) -> None:
    """Raise UserError if a file with the columns ``names`` lacks one of ``required``."""
    absent = [name for name in required if name not in names]
    if absent:
        raise UserError(
            f"{str(path)!r} lacks {' and '.join(absent)}; it holds {', '.join(names) or 'nothing'}"
        )
