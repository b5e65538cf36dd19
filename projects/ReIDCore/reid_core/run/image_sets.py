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
from ..data.opened_sets import UNKNOWN, Item
from ..data.opening import MissingDataset, data_root
from ..side_information.labelled_sets import camera_table, open_labelled
from ..side_information.rows import FIRST_WITHOUT_CAMERA, KEY, CameraTable, camera_rows, table_of

logger = logging.getLogger(__name__)


class CommDataset(loaders.CommDataset):
    """FastReID's data set of images, with camera rows and view ids.

    Args:
        img_items: (img_path, pid, camid) of each image.
        transform: applied to the image.
        relabel: number the persons (and, without ``cameras``, the cameras) by their sorted names.
        cameras: row of each item's camera in the CameraTable; None: FastReID's number.
        views: viewpoint of each item, 0-based, negative = not known; None: none is known.
    """

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
        self.cameras, self.views = cameras, views

    def __getitem__(self, index: int) -> dict[str, Any]:
        sample = super().__getitem__(index)
        if self.cameras is not None:
            sample["camids"] = self.cameras[index]
        sample["viewids"] = UNKNOWN if self.views is None else self.views[index]
        return sample


@fix(
    where="data/common.py:12, data/build.py:27-158",
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

    ``kwargs`` are handed to the data set classes, as in ``combineall=True``.

    Raises:
        UserError: a data set is unknown, missing, or has no training images, or the filters leave
            too few, or one that they keep cannot be read.
    """
    sets = [open_labelled(cfg, name, **kwargs) for name in cfg.DATASETS.NAMES]
    items, cameras, views = list[Item](), list[int](), list[int]()
    for opened in sets:
        if opened.train_missing:
            raise opened.train_missing
        if comm.is_main_process():
            opened.data.show_train()
    table = table_of(cfg, sets)
    for opened in sets:
        images = opened.train
        cameras += camera_rows(table, opened.dataset_name, images.cameras, start=len(items))
        items += images.items
        views += images.views
    kept = chosen_items(cfg, [item[0] for item in items], [item[1] for item in items])
    if kept is not None:
        items, cameras, views = ([x[i] for i in kept] for x in (items, cameras, views))
        if comm.is_main_process():
            check_images(item[0] for item in items)  # preflight leaves that to the filters
    without = sum(row <= FIRST_WITHOUT_CAMERA for row in cameras)
    lacking = sum(row < 0 for row in cameras) - without
    if without:
        logger.warning("%d of the %d training images have no camera", without, len(cameras))
    if lacking:
        logger.warning("%s (%s) lacks cameras of %d training images", KEY, table, lacking)
    return CommDataset(items, transforms, relabel=True, cameras=cameras, views=views)


def test_images(
    cfg: CfgNode, registered: str, transforms: Any, **kwargs: Any
) -> tuple[CommDataset, int]:
    """Open the images of a data set, queries first, then gallery; also the number of queries.

    Raises:
        UserError: the data set is unknown, missing, or has no query or gallery images.
    """
    opened = open_labelled(cfg, registered, **kwargs)
    num_query, num_gallery = len(opened.query), len(opened.gallery)
    if not num_query or not num_gallery:
        raise UserError(
            f"data set {registered} has {num_query} query and {num_gallery} gallery"
            f" images in {data_root()!r}; an evaluation needs both"
        )
    if comm.is_main_process():
        opened.data.show_test()
    try:
        table = camera_table(cfg)
    except MissingDataset as error:
        # Most models look no camera up: they can be tested where their training images are not.
        logger.warning("All test cameras count as unknown: %s", error)
        table = CameraTable(())
    test = opened.test
    cameras = camera_rows(table, opened.dataset_name, test.cameras)
    images = CommDataset(test.items, transforms, relabel=False, cameras=cameras, views=test.views)
    return images, num_query
