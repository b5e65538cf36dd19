"""Training and test images of a config: camera rows, view ids, filters."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from fastreid.config import CfgNode
from fastreid.data import common
from fastreid.utils import comm
from fastreid_compat.registry import fix, rebind
from fastreid_compat.repairs.loading import loaders
from reid_common.errors import UserError
from reid_common.image_files import check_images

from ..data.filter_hook import chosen_items
from ..data.opening import MissingDataset, data_root
from ..side_information.items import (
    report_unknown,
    rows_of_items,
    sortable_items,
    views_of_items,
)
from ..side_information.label_files import UNKNOWN, open_labelled
from ..side_information.rows import CameraTable, camera_table

logger = logging.getLogger(__name__)

Item = Sequence[Any]  # (img_path, pid, camid)


class CommDataset(loaders.CommDataset):
    """FastReID's data set of images, with camera rows and view ids.

    Args:
        img_items: (img_path, pid, camid) of each image.
        transform: applied to the image.
        relabel: number the persons (and, without ``cameras``, the cameras) by their sorted names.
        cameras: row of each item's camera, that of a CameraTable; None: as in FastReID, the sorted
            order if ``relabel``, else what the item says.
        views: viewpoint of each item, 0-based, negative = not known; None: none is known.
    """

    cameras: Sequence[int] | None = None
    views: Sequence[int] | None = None

    def __init__(
        self,
        img_items: Sequence[Item],
        transform: Callable[[Any], Any] | None = None,
        relabel: bool = True,
        *,
        cameras: Sequence[int] | None = None,
        views: Sequence[int] | None = None,
    ) -> None:
        super().__init__(img_items, transform, relabel)
        self.cameras = cameras
        self.views = views

    def __getitem__(self, index: int) -> dict[str, Any]:
        sample = super().__getitem__(index)
        if self.cameras is not None:
            sample["camids"] = self.cameras[index]
        sample["viewids"] = UNKNOWN if self.views is None else self.views[index]
        return sample


@fix(
    where="data/common.py:12, data/build.py:27-158",
    since="always",
    symptom="training cameras are numbered by sorted names (MSMT17: 0, 1, 10, 11, ...), test"
    " cameras by the data set; no view ids; a missing or misspelt data set: '... is not found'",
)
def one_numbering_of_cameras() -> bool:
    """Let FastReID's loaders take their images from :func:`training_set`, :func:`test_images`."""
    if common.CommDataset is not loaders.CommDataset:
        return False
    rebind(common.CommDataset, CommDataset)
    loaders.use_sources(loaders.Sources(training_set, test_images))
    return True


def training_set(cfg: CfgNode, transforms: Any, **kwargs: Any) -> CommDataset:
    """Open all of ``cfg.DATASETS.NAMES`` as one data set, of what DATASETS.FILTERS keep.

    Args:
        cfg: the config.
        transforms: applied to each image.
        **kwargs: handed to the data set classes, as in ``combineall=True``.

    Raises:
        UserError: a data set is unknown, missing, or has no training images, or the filters leave
            too few, or one that they keep cannot be read.
    """
    items: list[Item] = []
    cameras: list[int] = []
    views: list[int] = []
    table = None
    for registered in cfg.DATASETS.NAMES:
        data = open_labelled(cfg, registered, report=True, **kwargs)
        if not data.train:
            raise UserError(f"data set {registered} has no training images in {data_root()!r}")
        if comm.is_main_process():
            data.show_train()
        table = table or camera_table(cfg)
        cameras.extend(rows_of_items(table, registered, data.train, start=len(items)))
        items.extend(sortable_items(data.train))
        views.extend(views_of_items(data, data.train))
    kept = chosen_items(cfg, [item[0] for item in items], [item[1] for item in items])
    if kept is not None:
        items, cameras, views = ([x[i] for i in kept] for x in (items, cameras, views))
        if comm.is_main_process():
            check_images(item[0] for item in items)  # preflight leaves that to the filters
    if table is not None:
        report_unknown(cameras, table)
    return CommDataset(items, transforms, relabel=True, cameras=cameras, views=views)


def test_images(
    cfg: CfgNode, registered: str, transforms: Any, **kwargs: Any
) -> tuple[CommDataset, int]:
    """Open the query and gallery images of a data set.

    Returns:
        The data set, queries first, and the number of queries.

    Raises:
        UserError: the data set is unknown, missing, or has no query or gallery images.
    """
    data = open_labelled(cfg, registered, report=True, **kwargs)
    if not data.query or not data.gallery:
        raise UserError(
            f"data set {registered} has {len(data.query)} query and {len(data.gallery)} gallery"
            f" images in {data_root()!r}; an evaluation needs both"
        )
    if comm.is_main_process():
        data.show_test()
    items = sortable_items([*data.query, *data.gallery])
    cameras = rows_of_items(_known_cameras(cfg), registered, items)
    views = views_of_items(data, items)
    images = CommDataset(items, transforms, relabel=False, cameras=cameras, views=views)
    return images, len(data.query)


def _known_cameras(cfg: CfgNode) -> CameraTable:
    try:
        return camera_table(cfg)
    except MissingDataset as error:
        # Most models look no camera up: they can be tested where their training images are not.
        logger.warning("All test cameras count as unknown: %s", error)
        return CameraTable(())
