"""Images that a quantisation reads: of a data set by name, or of a folder or list."""

from __future__ import annotations

import os
from dataclasses import dataclass

from fastreid.config import CfgNode
from reid_common.errors import UserError
from reid_core.data.opened_sets import OpenedSet, Split, opened_set
from reid_core.run.reports import evenly_spread
from reid_core.side_information.labelled_sets import open_labelled
from reid_core.side_information.rows import CameraTable, camera_rows

from ..inference.image_lists import ImageItem, list_images


@dataclass(frozen=True)
class LabelledImages:
    """Images of a test: queries first.

    Attributes:
        items: with identities, and cameras as the model's rows (negative = no row).
        num_query: number of queries.
    """

    items: list[ImageItem]
    num_query: int


def calibration_images(
    source: str, count: int, cameras: tuple[str, ...], cfg: CfgNode | None = None
) -> list[ImageItem]:
    """At most ``count`` images, evenly spread: training images of a data set, or a folder or list.

    Args:
        source: as in DATASETS.NAMES, or what tools/extract_features.py takes.
        count: of images.
        cameras: which cameras the rows of the model are, as in DATASETS.CAMERAS.
        cfg: of the model, whose DATASETS.SIDE_INFORMATION counts.

    Raises:
        UserError: no such data set, folder or list, or one without images.
    """
    if os.path.exists(source):
        items = list_images(source)
    else:
        opened = _open(source, cfg)
        if opened.train_missing:
            raise opened.train_missing
        items = _items(opened, opened.train, cameras, identities=False)
    return [items[i] for i in evenly_spread(len(items), count)]


def validation_images(
    name: str, cameras: tuple[str, ...], cfg: CfgNode | None = None
) -> LabelledImages:
    """Query and gallery images of a data set; arguments as for :func:`calibration_images`.

    Raises:
        UserError: no such data set, or one without queries or gallery.
    """
    opened = _open(name, cfg)
    if not len(opened.query) or not len(opened.gallery):
        raise UserError(
            f"--validate {name}: it has {len(opened.query)} query and {len(opened.gallery)} "
            "gallery images; a validation needs both"
        )
    return LabelledImages(_items(opened, opened.test, cameras), len(opened.query))


def _open(name: str, cfg: CfgNode | None) -> OpenedSet:
    return opened_set(name) if cfg is None else open_labelled(cfg, name)


def _items(
    opened: OpenedSet, split: Split, cameras: tuple[str, ...], identities: bool = True
) -> list[ImageItem]:
    rows = camera_rows(CameraTable.parse(cameras), opened.dataset_name, split.cameras)
    pids = split.identities if identities else [-1] * len(split)
    return [ImageItem(*one) for one in zip(split.paths, pids, rows, split.views, strict=True)]
