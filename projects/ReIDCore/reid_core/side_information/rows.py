"""One numbering of cameras for training and testing.

FastReID numbers training cameras by the sorted order of their names, in which ``msmt17_10`` comes
before ``msmt17_2``, and leaves test cameras as the data set's own integers: a model that looks
cameras up reads the rows of other cameras in a test. Here one table serves both, and lists, in
order, the data sets and how many cameras each has; a camera's row is the offset of its data set
plus its 0-based number in that data set.

Negative rows stand for what the table does not know, and tell apart what an evaluation must tell
apart: it leaves out matches within one camera. A camera without a row has a number of its own, and
so has each image of which no camera is known (an item's camera is None or -1), so that it matches
all others.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterable, Sequence

from fastreid.config import CfgNode
from reid_common.errors import UserError

from ..data.names import dataset_name
from ..data.opening import MissingDataset, data_root, open_dataset
from .label_files import find_file, label_dataset

KEY = "DATASETS.CAMERAS"
NO_CAMERA = -1  # the number of an image whose camera is not known
FIRST_WITHOUT_CAMERA = -10_000_000  # its row, or below: beyond the cameras of any data set
EXAMPLE = f'{KEY} = ("msmt17:15", "market1501:6")'


class CameraTable:
    """Rows of the cameras of some data sets.

    Args:
        entries: (dataset_name, num_cameras) in the order of the rows. The number may be None
            ("not known, any camera is a row") if there is one data set only.

    Raises:
        UserError: a data set twice, a number below 1, or None beside other data sets.
    """

    def __init__(self, entries: Iterable[tuple[str, int | None]]) -> None:
        self._sizes: dict[str, int | None] = {}
        self._offsets: dict[str, int] = {}
        rows = 0
        for name, size in entries:
            if name in self._sizes:
                raise UserError(f"{KEY} lists {name!r} twice; list each data set once")
            if size is not None and size < 1:
                raise UserError(f"{KEY} gives {name!r} {size} cameras; at least 1 is needed")
            self._sizes[name] = size
            self._offsets[name] = rows
            rows += size or 0
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
            entries.append((dataset_name(name.strip()), int(number)))
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

    def row(self, name: str, camid: int) -> int:
        """Return the row of camera ``camid`` (0-based) of data set ``name``.

        A camera without a row gives ``-(1 + camid)``: negative, so that a model sees that it is
        unknown, and different for different cameras, so that the evaluation, which ignores matches
        within one camera, still tells them apart.

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

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CameraTable) and list(self._sizes.items()) == list(
            other._sizes.items()
        )

    def __hash__(self) -> int:
        return hash(tuple(self._sizes.items()))

    def __repr__(self) -> str:
        return f"CameraTable({list(self._sizes.items())})"


def raw_cameras(name: str, cameras: Sequence[str | int | None]) -> list[int]:
    """Return the 0-based camera numbers of one data set's items.

    FastReID's items name a training camera ``"{name}_{n}"``, or ``"{name}_test_{n}"`` where
    COMBINEALL adds the test images, and give a test camera as the integer n. Where a data set names
    a camera otherwise (``"airport_C1"``), its distinct names, sorted, are numbered 0, 1, ....

    Args:
        name: ``dataset_name`` of the data set.
        cameras: cameras of all the data set's items, as FastReID gives them; None, a negative
            number, or a name that ends in "_None" or "_-1", where no camera is known.

    Returns:
        One number an item, :data:`NO_CAMERA` where no camera is known.
    """
    texts = {camera: _bare(name, camera) for camera in set(cameras)}
    named = sorted({text for text in texts.values() if text is not None})
    if all(text.isdecimal() for text in named):
        numbers = {text: int(text) for text in named}
    else:
        numbers = {text: row for row, text in enumerate(named)}
    rows = {c: NO_CAMERA if text is None else numbers[text] for c, text in texts.items()}
    return [rows[camera] for camera in cameras]


def _bare(name: str, camera: str | int | None) -> str | None:
    """Return a camera without what FastReID puts before its number; None for no camera."""
    text = str(camera).removeprefix(f"{name}_").removeprefix("test_")
    return None if text in ("", "None") or re.fullmatch(r"-\d+", text) else text


def camera_rows(
    table: CameraTable, name: str, cameras: Sequence[str | int | None], start: int = 0
) -> list[int]:
    """Return the row of each item of a data set: the only place where cameras become rows.

    Args:
        table: of the model.
        name: ``dataset_name`` of the data set.
        cameras: cameras of all its items, as FastReID gives them.
        start: index of the first of them among all items that are loaded together.

    Returns:
        Rows of the table; for a camera without one what :meth:`CameraTable.row` says; for an item
        without a camera ``-(10_000_000 + index)``, which no other item has.
    """
    return [
        FIRST_WITHOUT_CAMERA - index if camera == NO_CAMERA else table.row(name, camera)
        for index, camera in enumerate(raw_cameras(name, cameras), start)
    ]


def camera_table(cfg: CfgNode) -> CameraTable:
    """Return the camera table of a config, the same for training and testing.

    It is ``cfg.DATASETS.CAMERAS`` where that is given; otherwise it is found from the images of
    the training sets, ``cfg.DATASETS.NAMES``: a data set has as many cameras as the largest number
    among its training images says. If the only training set is not on this machine, as in an
    evaluation elsewhere, any of its cameras is its own row. A data set whose images name no camera
    is not in the table.

    Raises:
        UserError: a wrong entry of DATASETS.CAMERAS, or an unknown data set.
        MissingDataset: one of several training sets is not on this machine, so that the rows of
            the others cannot be known; a UserError, too.
    """
    if cfg.DATASETS.CAMERAS:
        return CameraTable.parse(cfg.DATASETS.CAMERAS)
    sizes: dict[str, int | None] = {}
    missing: list[MissingDataset] = []
    root = os.path.abspath(data_root())
    files = _versions(cfg.DATASETS.SIDE_INFORMATION)
    for registered in cfg.DATASETS.NAMES:
        name = dataset_name(registered)
        try:
            size = _count_cameras(registered, root, bool(cfg.DATASETS.COMBINEALL), files)
        except MissingDataset as error:
            missing.append(error)
            sizes.setdefault(name, None)
        else:
            if size:
                sizes[name] = max(size, sizes.get(name) or 0)
    if missing and len(sizes) > 1:
        raise MissingDataset(
            f"cameras cannot be numbered: {missing[0]}. Or set the number of cameras of every"
            f" training set, as in {EXAMPLE}"
        )
    return CameraTable(sizes.items())


@functools.lru_cache(maxsize=64)
def _count_cameras(
    registered: str, root: str, combineall: bool, files: tuple[tuple[str, int], ...]
) -> int:
    data = open_dataset(registered, root=root, combineall=combineall)
    if not data.train:
        raise MissingDataset(f"data set {registered} has no training images in {root!r}")
    if files:
        label_dataset(data, registered, [file for file, _ in files])
    return max(raw_cameras(dataset_name(registered), [item[2] for item in data.train])) + 1


def _versions(files: Sequence[str]) -> tuple[tuple[str, int], ...]:
    """Files of DATASETS.SIDE_INFORMATION and when they were written."""
    return tuple((file, os.stat(find_file(file)).st_mtime_ns) for file in files)
