"""Data sets as a check sees them: parts (train, query, gallery) of comparable images."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from fastreid.config import CfgNode

from ..data.opened_sets import UNKNOWN, OpenedSet, Split, opened_set
from ..data.records import GALLERY, QUERY, TRAIN
from ..side_information.rows import raw_cameras
from .image_facts import ImageFacts


@dataclass(frozen=True)
class Entry:
    """One image of a part; camera and view are 0-based, negative where none is known."""

    path: str
    identity: str  # "shop 3", the same in training and testing
    camera: int
    view: int | None = None  # None: the data set has no viewpoints
    junk: bool = False  # a false detection or the like, which no query looks for


@dataclass(frozen=True)
class Part:
    """Training images, queries or gallery of one data set."""

    dataset: str
    split: str
    entries: list[Entry]

    @property
    def is_test(self) -> bool:
        """Whether it is a query or gallery part."""
        return self.split != TRAIN


def parts_of(
    name: str, splits: Sequence[str] = (TRAIN, QUERY, GALLERY), combineall: bool = False
) -> list[Part]:
    """Open a registered data set; return its parts, of ``splits``, that have images."""
    opened = opened_set(name, combineall=combineall)
    parts = [Part(name, split, _entries(opened, getattr(opened, split))) for split in splits]
    return [part for part in parts if part.entries]


def parts_of_config(cfg: CfgNode) -> list[Part]:
    """Return the training parts of DATASETS.NAMES and the test parts of DATASETS.TESTS."""
    combineall = bool(cfg.DATASETS.COMBINEALL)
    train = [parts_of(name, [TRAIN], combineall) for name in dict.fromkeys(cfg.DATASETS.NAMES)]
    test = [parts_of(name, [QUERY, GALLERY]) for name in dict.fromkeys(cfg.DATASETS.TESTS)]
    return [part for parts in (*train, *test) for part in parts]


def _entries(opened: OpenedSet, images: Split) -> list[Entry]:
    name, junk = opened.dataset_name, getattr(opened.data, "_junk_pids", ())
    known = getattr(opened.data, "identities", None)  # of one's own images: their names
    cameras = raw_cameras(name, images.cameras)
    views = images.views if opened.viewpoint else [None] * len(images)
    entries = []
    for path, pid, camera, view in zip(
        images.paths, images.identities, cameras, views, strict=True
    ):
        number = str(pid).removeprefix(f"{name}_").removeprefix("test_")
        label = known[int(number)] if known else number
        entries.append(Entry(path, f"{name} {label}", camera, view, pid in junk))
    return entries


def summary(parts: Sequence[Part], facts: dict[str, ImageFacts]) -> Iterator[dict[str, Any]]:
    """Yield the counts of each part: images, identities, cameras, views, pixels."""
    for part in parts:
        cameras = {entry.camera for entry in part.entries}
        views = {entry.view for entry in part.entries if entry.view is not None}
        found = [facts[entry.path] for entry in part.entries]
        sizes = [(fact.width, fact.height) for fact in found if not fact.fault]
        yield {
            "data set": part.dataset,
            "split": part.split,
            "images": len(part.entries),
            "identities": len({entry.identity for entry in part.entries}),
            "cameras": sum(camera >= 0 for camera in cameras),
            "no camera": sum(entry.camera == UNKNOWN for entry in part.entries),
            "views": sum(view >= 0 for view in views),
            "median size": "x".join(
                str(statistics.median_low(s)) for s in zip(*sizes, strict=True)
            ),
            "least size": "x".join(str(min(side)) for side in zip(*sizes, strict=True)),
        }
