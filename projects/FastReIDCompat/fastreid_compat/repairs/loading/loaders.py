"""From a config to loaders: seeds, workers, and where data sets are looked for."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from fastreid.config import CfgNode, configurable
from fastreid.data import build, common
from fastreid.data.datasets import DATASET_REGISTRY
from fastreid.utils import comm
from reid_common.errors import UserError

from ...registry import fix, rebind, source_has
from . import prefetch
from .reproducible import SeededBatchSampler, draws_of


class CommDataset(common.CommDataset):
    """FastReID's data set of images, with repeatable augmentation.

    A transform may return a mapping: what the sample holds of the image, "images" among it.

    Lives here, so that a loader's worker that is spawned imports fastreid_compat before fastreid.
    """

    def __getitem__(self, index: int) -> dict[str, Any]:
        with draws_of(index):
            sample = super().__getitem__(index)
        image = sample["images"]
        return {**sample, **image} if isinstance(image, Mapping) else sample


class Sources(NamedTuple):
    """What the loaders get their images from; a package may put its own in (:func:`use_sources`).

    Attributes:
        training_set: (cfg, transforms, **kwargs) -> data set of all of DATASETS.NAMES.
        test_images: (cfg, name, transforms, **kwargs) -> data set, queries first, and the number
            of queries.
    """

    training_set: Callable[..., Any]
    test_images: Callable[..., tuple[Any, int]]


def _training_set(cfg: CfgNode, transforms: Any, **kwargs: Any) -> CommDataset:
    items: list[Any] = []
    for name in cfg.DATASETS.NAMES:
        data = _open(name, **kwargs)
        if comm.is_main_process():
            data.show_train()
        items.extend(data.train)
    return CommDataset(items, transforms, relabel=True)


def _test_images(
    cfg: CfgNode, name: str, transforms: Any, **kwargs: Any
) -> tuple[CommDataset, int]:
    data = _open(name, **kwargs)
    if comm.is_main_process():
        data.show_test()
    items = [*data.query, *data.gallery]
    return CommDataset(items, transforms, relabel=False), len(data.query)


def _open(name: str, **kwargs: Any) -> Any:
    root = os.getenv("FASTREID_DATASETS", "datasets")
    return DATASET_REGISTRY.get(name)(root=root, **kwargs)


_sources = [Sources(_training_set, _test_images)]


def use_sources(sources: Sources) -> None:
    """Let the loaders of ``build_reid_train_loader`` and ``..._test_loader`` ask ``sources``."""
    _sources[:] = [sources]


@fix(
    where="data/common.py:12",
    symptom="augmentation cannot be repeated; spawned loader workers cannot import fastreid",
)
def dataset_of_images() -> bool:
    """Put :class:`CommDataset` above in the place of FastReID's."""
    if not source_has(common.CommDataset.__getitem__, "self.cam_dict[camid]"):
        return False
    rebind(common.CommDataset, CommDataset)
    return True


@fix(
    where="data/build.py:27-98",
    symptom="FASTREID_DATASETS is read at import only; no seed for sampling and augmentation",
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
            train_set = _sources[0].training_set(cfg, transforms, **kwargs)
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
            finish=prefetch.finish_of(train_set),
        )

    rebind(from_config, train_loader_from_config)
    configured = configurable(from_config=train_loader_from_config)(build_reid_train_loader)
    rebind(build.build_reid_train_loader, configured)
    return True


@fix(
    where="data/build.py:101-158",
    symptom="the test loader starts 4 workers whatever DATALOADER.NUM_WORKERS says",
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
            test_set, num_query = _sources[0].test_images(cfg, dataset_name, transforms, **kwargs)
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
