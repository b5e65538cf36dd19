"""What a data filter is: it keeps or drops one item and says why; this class counts and reports."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import numpy as np
from dinopretrain.data.images import UnlabelledImages
from dinopretrain.data.path_list import PathList

from .measurements import Measurement
from .report import FilterReport

UNREADABLE = "unreadable image"


class Drop(NamedTuple):
    """Why an item is dropped: a reason to count by, and a detail of it, as in "48 pixels"."""

    reason: str
    detail: str = ""


@dataclass(frozen=True)
class Items:
    """The items that reach a filter.

    Attributes:
        images: the whole training set.
        positions: which of its images these are, ascending; (N,) int64.
        values: the filter's measurement of each, (N, width); None where it has none.
        errors: position -> what is wrong with an image that could not be measured.
    """

    images: UnlabelledImages
    positions: np.ndarray
    values: np.ndarray | None = None
    errors: Mapping[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.positions)

    def name(self, row: int) -> str:
        """Name of an item for people."""
        return self.images.name(int(self.positions[row]))


class DataFilter(abc.ABC):
    """Base of all filters. A subclass implements :meth:`judge`.

    Its constructor has typed keywords, those of an entry in DATASETS.FILTERS in small letters,
    raises UserError for values that cannot work, and reads nothing large. ``measurement`` is what
    it needs to know of an image's pixels; None: nothing. ``files`` are its options, in capitals,
    that are files or folders in ``FASTREID_DATASETS`` or from here.
    """

    measurement: Measurement | None = None
    files: ClassVar[tuple[str, ...]] = ()

    def look_up(self, images: UnlabelledImages, keys: PathList) -> None:
        """See the whole training set and its ``keys``, before anything is measured."""
        return None

    def prepare(self, items: Items) -> None:
        """See all items that reach this filter, for filters that compare them with each other."""
        return None

    @abc.abstractmethod
    def judge(self, items: Items, row: int) -> Drop | None:
        """Why item ``row`` (0-based) of all that reach this filter is dropped; None keeps it."""

    def apply(self, items: Items, report: FilterReport) -> np.ndarray:
        """Judge all items that reach this filter, and report those that are dropped.

        Returns:
            (K,) int64: positions of those that are kept.
        """
        readable = self._readable(items, report)
        self.prepare(readable)
        keep = np.ones(len(readable), bool)
        for row in range(len(readable)):
            drop = self.judge(readable, row)
            if drop is not None:
                keep[row] = False
                report.drop(readable.name(row), drop.reason, drop.detail)
        kept = readable.positions[keep]
        report.num_images, report.num_kept = len(items), len(kept)
        return kept

    @staticmethod
    def _readable(items: Items, report: FilterReport) -> Items:
        if not items.errors:
            return items
        bad = np.array(sorted(items.errors), np.int64)
        for position in bad.tolist():
            report.drop(items.images.name(position), UNREADABLE, items.errors[position])
        rows = ~np.isin(items.positions, bad)
        values = None if items.values is None else items.values[rows]
        return Items(items.images, items.positions[rows], values)
