"""Where a camera becomes a row: from a data set's name of it to the row of the SIE table.

The name gives a number (:func:`raw_cameras`), this a row among the cameras of all training sets
(:func:`camera_rows`), and with a viewpoint that is a row of the SIE table (:func:`sie_rows`).

FastReID numbers training cameras by the sorted order of their names (``msmt17_10`` comes before
``msmt17_2``), and leaves test cameras as the data set's own integers, so that a model that looks
cameras up reads other rows in a test. Here one :class:`CameraTable` serves both.

Negative rows stand for what the table does not know, and tell apart what an evaluation, which
leaves out matches within one camera, must tell apart: a camera without a row has a number of its
own, and so has each image of which no camera is known, so that it matches all others.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import torch
from fastreid.config import CfgNode
from reid_common.errors import UserError
from torch import Tensor

from ..data.names import dataset_name
from ..data.opened_sets import UNKNOWN, OpenedSet
from ..data.opening import MissingDataset

KEY = "DATASETS.CAMERAS"
FIRST_WITHOUT_CAMERA = -10_000_000  # its row, or below: beyond the cameras of any data set
EXAMPLE = f'{KEY} = ("msmt17:15", "market1501:6")'


class CameraTable:
    """Rows of the cameras of some data sets: offset of the data set plus camera within it, 0-based.

    Args:
        entries: (data set, num_cameras) in the order of the rows; of a single data set the number
            may be None: not known, any camera is a row.

    Raises:
        UserError: a data set twice, a number below 1, or None beside other data sets.
    """

    def __init__(self, entries: Iterable[tuple[str, int | None]]) -> None:
        self._sizes: dict[str, int | None] = {}
        self._offsets: dict[str, int] = {}
        for registered, size in entries:
            name = dataset_name(registered)
            if name in self._sizes:
                raise UserError(f"{KEY} lists {name!r} twice; list each data set once")
            if size is not None and size < 1:
                raise UserError(f"{KEY} gives {name!r} {size} cameras; at least 1 is needed")
            self._offsets[name] = sum(known or 0 for known in self._sizes.values())
            self._sizes[name] = size
        if None in self._sizes.values() and len(self._sizes) > 1:
            raise UserError(f"the number of cameras of each data set is needed; set {EXAMPLE}")

    @classmethod
    def parse(cls, texts: Sequence[str]) -> CameraTable:
        """Build the table from its text form, ``("msmt17:15", "market1501:6")``.

        Raises:
            UserError: an entry that is not ``name:number``.
        """
        entries: list[tuple[str, int | None]] = []
        for text in [texts] if isinstance(texts, str) else texts:
            name, _, number = str(text).rpartition(":")
            if not name.strip() or not number.strip().isdecimal():
                raise UserError(f"{KEY} has the entry {text!r}; write name:number, as in {EXAMPLE}")
            entries.append((name.strip(), int(number)))
        return cls(entries)

    def format(self) -> tuple[str, ...]:
        """Return the text form, which :meth:`parse` reads; () where the size is not known."""
        return tuple(f"{name}:{size}" for name, size in self._sizes.items() if size is not None)

    @property
    def num_rows(self) -> int:
        """Number of rows.

        Raises:
            UserError: the table holds a data set whose number of cameras is not known.
        """
        if None in self._sizes.values():
            name = self.names()[0]
            raise UserError(
                f"the number of cameras of {name!r} is not known, because its training images are"
                f' not on this machine; set {KEY} = ("{name}:NUMBER",)'
            )
        return sum(size or 0 for size in self._sizes.values())

    def names(self) -> tuple[str, ...]:
        """Return the data sets in the order of their rows."""
        return tuple(self._sizes)

    def resized(self, size: int) -> CameraTable:
        """Return the table of its one data set with so many cameras."""
        return type(self)([(name, size) for name in self._sizes])

    def row(self, name: str, camid: int) -> int:
        """Return the row of camera ``camid`` (0-based) of data set ``name``.

        A camera without a row gives ``-(1 + camid)``: negative, so that a model sees that it is
        unknown, and different for different cameras, so that an evaluation tells them apart.

        Raises:
            ValueError: a negative ``camid``, for which :func:`camera_rows` has rows.
        """
        if camid < 0:
            raise ValueError(f"camera {camid} of {name!r} is no camera; camera_rows() numbers it")
        if name in self._sizes:
            size = self._sizes[name]
            if size is None or camid < size:
                return self._offsets[name] + camid
        return -(1 + camid)

    def cameras(self) -> list[tuple[str, int]]:
        """Return (data set, 0-based camera) of every row, in order."""
        self.num_rows  # noqa: B018  (raises where a size is not known)
        return [(name, i) for name, size in self._sizes.items() for i in range(size or 0)]

    def rows_in(self, other: CameraTable, count: int) -> list[int]:
        """Row of each camera of this table in another's first ``count`` rows; -1 where none is."""
        rows = [other.row(name, camera) for name, camera in self.cameras()]
        return [row if row < count else -1 for row in rows]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CameraTable) and repr(self) == repr(other)

    def __repr__(self) -> str:
        return f"CameraTable({list(self._sizes.items())})"

    def __str__(self) -> str:
        return ", ".join(self.format())


def raw_cameras(name: str, cameras: Sequence[str | int | None]) -> list[int]:
    """Return the 0-based camera numbers of one data set's items.

    FastReID's items name a training camera ``"{name}_{n}"``, or ``"{name}_test_{n}"`` where
    COMBINEALL adds the test images, and give a test camera as the integer n. Where a data set names
    a camera otherwise (``"airport_C1"``), its distinct names, sorted, are numbered 0, 1, ....

    Args:
        name: ``dataset_name`` of the data set.
        cameras: those of all its items, as FastReID gives them.

    Returns:
        One number an item; :data:`UNKNOWN` for None, a negative number, or a name that ends so.
    """
    texts = {c: str(c).removeprefix(f"{name}_").removeprefix("test_") for c in set(cameras)}
    none = {text for text in texts.values() if re.fullmatch(r"|None|-\d+", text)}
    named = sorted(set(texts.values()) - none)
    whole = all(text.isdecimal() for text in named)
    numbers = {text: int(text) if whole else row for row, text in enumerate(named)}
    return [numbers.get(texts[camera], UNKNOWN) for camera in cameras]


def camera_rows(
    table: CameraTable, name: str, cameras: Sequence[str | int | None], start: int = 0
) -> list[int]:
    """Return the row of each item of a data set.

    Args:
        table: of the model.
        name: see :func:`raw_cameras`.
        cameras: likewise.
        start: index of the first of them among all items that are loaded together.

    Returns:
        What :meth:`CameraTable.row` says; for an item without a camera ``-(10_000_000 + index)``,
        which no other item has.
    """
    return [
        FIRST_WITHOUT_CAMERA - index if camera == UNKNOWN else table.row(name, camera)
        for index, camera in enumerate(raw_cameras(name, cameras), start)
    ]


def table_of(cfg: CfgNode, training: Sequence[OpenedSet]) -> CameraTable:
    """Return the camera table of a config and its training sets, which serves testing, too.

    It is DATASETS.CAMERAS where that is given; otherwise a data set has as many cameras as the
    largest number among its training images says. If the only training set is not on this machine,
    any of its cameras is its own row. One whose images name no camera is not in the table.

    Raises:
        UserError: a wrong entry of DATASETS.CAMERAS.
        MissingDataset: one of several training sets is not here, which leaves all rows open.
    """
    if cfg.DATASETS.CAMERAS:
        return CameraTable.parse(cfg.DATASETS.CAMERAS)
    sizes: dict[str, int | None] = {}
    missing: list[MissingDataset] = []
    for opened in training:
        name, images = opened.dataset_name, opened.train
        if opened.train_missing:
            missing.append(opened.train_missing)
            sizes.setdefault(name, None)
        elif size := max(raw_cameras(name, images.cameras)) + 1:
            sizes[name] = max(size, sizes.get(name) or 0)
    if missing and len(sizes) > 1:
        raise MissingDataset(
            f"cameras cannot be numbered: {missing[0]}. Or set the number of cameras of every"
            f" training set, as in {EXAMPLE}"
        )
    return CameraTable(sizes.items())


def sie_rows(
    camids: Tensor | None, viewids: Tensor | None, num_cameras: int, num_views: int
) -> Tensor:
    """Return the row of the SIE table for each image, from the row of its camera and its view.

    The C * V rows that are learnt come first (C or V counts as 1 where it is 0). The numbers after
    them stand for what has no learnt row: V for an unknown camera under view 0, 1, ..., C for
    camera 0, 1, ... from an unknown view, and one for both unknown.

    Args:
        camids: (B,) 0-based camera ids, negative = unknown; None: all are unknown.
        viewids: (B,) 0-based viewpoint ids, likewise.
        num_cameras: size of the camera axis, 0 for an embedding of viewpoints only.
        num_views: size of the viewpoint axis, 0 for an embedding of cameras only.

    Returns:
        (B,) int64 rows; (1,) if no ids are given. Ids that are too high are not looked for here.
    """
    cameras = camids.long() if camids is not None and num_cameras else None
    views = viewids.long() if viewids is not None and num_views else None
    given = cameras if cameras is not None else views
    if given is None:
        given = torch.zeros(1, dtype=torch.long)
    # An axis that is not embedded is one known place; one whose ids are missing is unknown.
    if cameras is None:
        cameras = torch.full_like(given, -1 if num_cameras else 0)
    if views is None:
        views = torch.full_like(given, -1 if num_views else 0)
    num_cameras, num_views = max(num_cameras, 1), max(num_views, 1)
    learnt = num_cameras * num_views
    no_camera = torch.where(views < 0, learnt + num_views + num_cameras, learnt + views)
    no_view = learnt + num_views + cameras
    with_camera = torch.where(views < 0, no_view, cameras * num_views + views)
    return torch.where(cameras < 0, no_camera, with_camera)
