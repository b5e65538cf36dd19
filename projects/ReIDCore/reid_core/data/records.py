"""One's own images as a FastReID data set: what :mod:`.folder_reid` and :mod:`.csv_reid` share.

Both read a list of :class:`Record`; this module numbers identities and cameras and makes queries
and gallery where nobody has chosen them.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fastreid.data.datasets.bases import ImageDataset

from .opened_sets import UNKNOWN

TRAIN, QUERY, GALLERY, TEST, ANY = "train", "query", "gallery", "test", ""
SPLITS = (TRAIN, QUERY, GALLERY, TEST)

Item = tuple[str, "str | int", "str | int"]  # img_path, pid, camid


@dataclass(frozen=True)
class Record:
    """One image."""

    path: str
    identity: str  # name of the person, vehicle or animal; any text
    split: str = ANY  # of TEST images queries are chosen; ANY: for training and, as TEST, testing
    camera: str = ""  # its name, any text; "" where it is not known
    view: int = UNKNOWN  # viewpoint, 0-based


def natural_key(text: str) -> tuple[list[str | int], str]:
    """Sort key that puts "c2" before "c10"."""
    parts = re.split(r"(\d+)", text)
    return [int(part) if part.isdecimal() else part for part in parts], text


def number(names: Iterable[str]) -> dict[str, int]:
    """Number distinct names 0, 1, ... in natural order."""
    return {name: i for i, name in enumerate(sorted(set(names), key=natural_key))}


def choose_queries(records: Sequence[Record]) -> set[int]:
    """Indices of the queries among test images: always the same, each with a match that counts.

    An evaluation ignores matches within one camera. Of an identity under two or more cameras, the
    first image (by path, in natural order) of each camera with several images is a query; if every
    camera has one image, the identity's first image is. An image without a camera counts as its own
    camera. An identity under one camera only has no query: it stays in the gallery to confuse.
    """
    images: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for index in sorted(range(len(records)), key=lambda i: natural_key(records[i].path)):
        record = records[index]
        camera = f"camera {record.camera}" if record.camera else f"image {index}"
        images[record.identity][camera].append(index)
    queries: set[int] = set()
    for cameras in images.values():
        if len(cameras) > 1:
            first = [found[0] for found in cameras.values() if len(found) > 1]
            queries.update(first or [next(iter(cameras.values()))[0]])
    return queries


def number_cameras(records: Sequence[Record]) -> dict[str, int]:
    """Number of each camera: those of training images first, then the others, in natural order.

    So a camera that training has not seen never takes the number of one that it has, and a new test
    camera changes none.
    """
    numbers = number(r.camera for r in records if r.camera and r.split in (TRAIN, ANY))
    others = number(r.camera for r in records if r.camera and r.camera not in numbers)
    return {**numbers, **{name: len(numbers) + i for name, i in others.items()}}


class RecordDataset(ImageDataset):
    """A FastReID data set of records.

    Identities are numbered over all splits, in natural order of their names, and so are cameras,
    those of the training images first (:func:`number_cameras`). Items are FastReID's: (path,
    "{name}_{pid}", "{name}_{camid}") for training, (path, pid, camid) for testing; camid is -1
    where no camera is known. With ``combineall`` an image that is in several splits counts once.

    Args:
        name: ``dataset_name``.
        records: all images.
        **kwargs: FastReID's, as in ``combineall=True``.
    """

    def __init__(self, name: str, records: Sequence[Record], **kwargs: object) -> None:
        self.dataset_name = name
        pids = number(record.identity for record in records)
        camids = number_cameras(records)
        self.identities, self.cameras = list(pids), list(camids)  # their names, by number
        self._views = {record.path: record.view for record in records}
        if any(view != UNKNOWN for view in self._views.values()):
            self.viewpoint = self._views.__getitem__
            self.num_views = max(self._views.values()) + 1

        def item(record: Record) -> tuple[str, int, int]:
            return record.path, pids[record.identity], camids.get(record.camera, UNKNOWN)

        train = [self._training_item(item(r)) for r in records if r.split in (TRAIN, ANY)]
        query = [item(r) for r in records if r.split == QUERY]
        gallery = [item(r) for r in records if r.split == GALLERY]
        test = [r for r in records if r.split in (TEST, ANY)]
        queries = choose_queries(test)
        for index, record in enumerate(test):
            (query if index in queries else gallery).append(item(record))
        super().__init__(train, query, gallery, **kwargs)

    def _training_item(self, item: tuple[str, int, int]) -> Item:
        path, pid, camid = item
        return path, f"{self.dataset_name}_{pid}", f"{self.dataset_name}_{camid}"

    def combine_all(self) -> None:
        """Train on the images of all splits; FastReID takes test identities for other ones."""
        combined = {item[0]: item for item in self.train}
        for item in (*self.query, *self.gallery):
            combined.setdefault(item[0], self._training_item(item))
        self._train = list(combined.values())
