"""From a config to loaders: one camera numbering, view ids, seeds, data sets that are named."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from fastreid.config import CfgNode, configurable
from fastreid.data import build, common
from fastreid.utils import comm
from reid_common.errors import UserError
from reid_common.image_files import check_images
from reid_core.data.filter_hook import chosen_items
from reid_core.side_information.cameras import CameraTable, camera_table
from reid_core.side_information.items import (
    report_unknown,
    rows_of_items,
    sortable_items,
    views_of_items,
)
from reid_core.side_information.label_files import UNKNOWN, open_labelled

from ...registry import fix, rebind, source_has
from ..data.dataset_files import MissingDataset, data_root
from . import prefetch
from .reproducible import SeededBatchSampler, draws_of

logger = logging.getLogger(__name__)

Item = Sequence[Any]  # (img_path, pid, camid)


class CommDataset(common.CommDataset):
    """FastReID's data set of images, with camera rows, view ids and repeatable augmentation.

    Lives here, so that a loader's worker that is spawned imports fastreid_compat before fastreid.

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
        with draws_of(index):
            sample = super().__getitem__(index)
        if self.cameras is not None:
            sample["camids"] = self.cameras[index]
        sample["viewids"] = UNKNOWN if self.views is None else self.views[index]
        return sample


@fix(
    where="data/common.py:12",
    since="always",
    symptom="training cameras are numbered by sorted names (MSMT17: 0, 1, 10, 11, ...), test"
    " cameras by the data set; no view ids; spawned loader workers cannot import fastreid",
)
def dataset_of_images() -> bool:
    """Put :class:`CommDataset` above in the place of FastReID's."""
    if not source_has(common.CommDataset.__getitem__, "self.cam_dict[camid]"):
        return False
    rebind(common.CommDataset, CommDataset)
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


@fix(
    where="data/build.py:27-98",
    since="always",
    symptom="FASTREID_DATASETS is read at import only; a missing or misspelt data set: '... is not"
    " found'; no seed for sampling and augmentation",
)
def train_loader() -> bool:
    """Build the training set and its loader here; FastReID's function still chooses the sampler."""
    from_config = build._train_loader_from_config
    if not source_has(from_config, "DATASET_REGISTRY.get(d)(root=_root"):
        return False

    def train_loader_from_config(
        cfg: CfgNode,
        *,
        train_set: Any = None,
        transforms: Any = None,
        sampler: Any = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        if train_set is None:
            if transforms is None:
                transforms = build.build_transforms(cfg, is_train=True)
            train_set = training_set(cfg, transforms, **kwargs)
        arguments = from_config(cfg, train_set=train_set, transforms=transforms, sampler=sampler)
        if sampler is None and cfg.get("SEED", -1) >= 0:
            arguments["sampler"]._seed = cfg.SEED
        return arguments

    def build_reid_train_loader(
        train_set: Any, *, sampler: Any = None, total_batch_size: int, num_workers: int = 0
    ) -> prefetch.PrefetchLoader:
        """Build the loader of training batches; as FastReID's, which says it is experimental."""
        seed = getattr(sampler, "_seed", None)
        batch_sampler = SeededBatchSampler(
            sampler,
            total_batch_size // comm.get_world_size(),
            drop_last=True,
            seed=int(comm.shared_random_seed() if seed is None else seed),
            rank=comm.get_rank(),
        )
        return build.DataLoaderX(
            comm.get_local_rank(),
            dataset=train_set,
            num_workers=num_workers,
            batch_sampler=batch_sampler,
            collate_fn=build.fast_batch_collator,
            pin_memory=True,
        )

    rebind(from_config, train_loader_from_config)
    configured = configurable(from_config=train_loader_from_config)(build_reid_train_loader)
    rebind(build.build_reid_train_loader, configured)
    return True


@fix(
    where="data/build.py:101-158",
    since="always",
    symptom="the test loader starts 4 workers whatever DATALOADER.NUM_WORKERS says; test cameras"
    " are numbered otherwise than training cameras",
)
def evaluation_loader() -> bool:
    """Build the test set here and let DATALOADER.NUM_WORKERS count for it too."""
    from_config = build._test_loader_from_config
    if not source_has(from_config, "DATASET_REGISTRY.get(dataset_name)(root=_root"):
        return False

    def test_loader_from_config(
        cfg: CfgNode,
        *,
        dataset_name: str | None = None,
        test_set: Any = None,
        num_query: int = 0,
        transforms: Any = None,
        num_workers: int | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        if test_set is None:
            if dataset_name is None:
                raise UserError("a test loader needs dataset_name or test_set; neither is given")
            if transforms is None:
                transforms = build.build_transforms(cfg, is_train=False)
            test_set, num_query = test_images(cfg, dataset_name, transforms, **kwargs)
        return {
            "test_set": test_set,
            "test_batch_size": cfg.TEST.IMS_PER_BATCH,
            "num_query": num_query,
            "num_workers": cfg.DATALOADER.NUM_WORKERS if num_workers is None else num_workers,
        }

    loader = build.build_reid_test_loader
    rebind(from_config, test_loader_from_config)
    rebind(loader, configurable(from_config=test_loader_from_config)(loader.__wrapped__))
    return True
