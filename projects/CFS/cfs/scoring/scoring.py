"""Catastrophic forgetting scores of a whole data set: c(x) = cos(theta_s(x), theta_t(x)).

Source: Luo et al., arXiv 2111.12084, algorithm 1: a high score says that adapting the model to the
target moved the image little, so that it is close to the target's domain. Each image is read,
decoded and resized once for both models.

Processes share the shards by their numbers alone: shard i is of process i % world. They need not
talk to each other, may start and end when they like, and one that dies stops no other.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Generator, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from dinopretrain.data.images import UnlabelledImages
from dinopretrain.data.path_list import PathList
from dinopretrain.transforms.views import use_one_thread
from reid_common.column_files.parquet import import_pyarrow
from reid_common.digests import digest
from reid_common.errors import UserError
from reid_common.progress import progress_bar
from torch import Tensor
from torch.utils.data import DataLoader
from transreid.inference.extraction import Batch, collate
from transreid.inference.extractor import PRECISIONS

from ..images.keys import key_list
from ..scores.shards import ScoreShards, only_process
from .batches import Batches, ResizedImages, Transform
from .models import FeatureModel, check_features, cosines
from .options import ScoringOptions

Scored = tuple[list[int], np.ndarray, list[tuple[int, str]]]  # of a batch: indices, scores, bad


def score_images(
    images: UnlabelledImages,
    source: FeatureModel,
    target: FeatureModel,
    transform: Transform,
    out: str | Path,
    options: ScoringOptions,
    info: Mapping[str, Any] = MappingProxyType({}),
) -> ScoreShards:
    """Score this process's share of the images; what is done already stays.

    Args:
        images: the listing.
        source: theta_s.
        target: theta_t.
        transform: from a PIL image to a tensor (3, H, W), pixels 0..255.
        out: folder of the scores, see :mod:`cfs.scores.shards`.
        options: how.
        info: more for meta.json, which makes no difference to a score: what the data set is.

    Returns:
        The shards; those of other processes may be missing yet.

    Raises:
        UserError: there are no images, the models' features have different sizes, a feature is not
            finite, or ``out`` cannot be written or holds scores of another run.
    """
    import_pyarrow()
    if not len(images):
        raise UserError("there is no image to score; name others with --dataset or --images")
    keys = key_list(images)
    shards = ScoreShards(Path(out), {**info, **describe(keys, source, target, options)})
    shards.prepare()
    with only_process(shards.folder, options.rank):
        own = [shard for shard in shards.ranges() if shard[0] % options.world == options.rank]
        missing = [shard for shard in own if not shards.file(shard[0]).exists()]
        if missing:
            _fill(images, keys, (source, target), transform, shards, missing, options, _count(own))
    return shards


def describe(
    keys: PathList,
    source: FeatureModel,
    target: FeatureModel,
    options: ScoringOptions,
) -> dict[str, Any]:
    """What meta.json says of models, images, settings and versions."""
    models = {
        f"{model_name}_{key}": value
        for model_name, model in (("source", source), ("target", target))
        for key, value in (
            ("weights", model.weights),
            ("sha256", model.weights_sha256),
            ("config", model.config),
        )
    }
    import timm  # late: seconds

    return {
        **models,
        "count": len(keys),
        "names_sha256": digest(name + b"\n" for name in keys.iter_raw()),
        "precision": options.precision,
        "batch_size": options.batch_size,
        "shard_size": options.shard_size,
        "versions": {
            "torch": torch.__version__,
            "timm": timm.__version__,
            "pyarrow": import_pyarrow().__version__,
        },
    }


def _count(shards: list[tuple[int, range]]) -> int:
    return sum(len(rows) for _, rows in shards)


def _fill(
    images: UnlabelledImages,
    keys: PathList,
    models: tuple[FeatureModel, FeatureModel],
    transform: Transform,
    shards: ScoreShards,
    missing: list[tuple[int, range]],
    options: ScoringOptions,
    total: int,
) -> None:
    """Score the shards ``missing`` of the ``total`` images of this process."""
    device = torch.device(options.device)
    for model in models:
        model.to(device)
    loader = DataLoader(
        ResizedImages(images, transform),
        batch_sampler=Batches(missing, options.batch_size),  # type: ignore[arg-type]  # any iterable
        num_workers=options.num_workers,
        collate_fn=collate,
        pin_memory=device.type == "cuda",
        worker_init_fn=use_one_thread,
    )
    stream = _scored(loader, keys, models, options.precision)
    done = total - _count(missing)
    with (
        contextlib.closing(stream),
        progress_bar("score", total, "image", done, hidden=options.rank > 0) as progress,
    ):
        for number, rows in missing:
            scores = np.full(len(rows), np.nan, np.float32)
            reasons: list[str | None] = [None] * len(rows)
            for _ in range(0, len(rows), options.batch_size):
                indices, values, bad = next(stream)
                scores[np.array(indices, np.int64) - rows.start] = values
                for index, reason in bad:
                    reasons[index - rows.start] = reason
                progress.update(len(indices) + len(bad))
            shards.write(number, [keys[index] for index in rows], scores, reasons)


def _scored(
    loader: Iterable[Batch],
    keys: PathList,
    models: tuple[FeatureModel, FeatureModel],
    precision: str,
) -> Generator[Scored, None, None]:
    """Yield indices, scores (n,), and (index, reason) of each batch, in order.

    On a CPU several batches are worked on at a time, each by one thread: kernels round the last bit
    otherwise with another number of threads, and so would processes that share the cores.
    """
    on_cpu = models[0].pixel_mean.device.type == "cpu"
    threads = torch.get_num_threads()
    workers = threads if on_cpu else 1
    pool = ThreadPoolExecutor(workers, initializer=partial(torch.set_num_threads, 1))
    waiting: deque[tuple[list[int], Future[np.ndarray], list[tuple[int, str]]]] = deque()
    try:
        for indices, images, bad in loader:
            names = [keys[index] for index in indices]
            waiting.append((indices, pool.submit(_scores, images, names, models, precision), bad))
            if len(waiting) > workers:
                yield _finished(waiting.popleft())
        while waiting:
            yield _finished(waiting.popleft())
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)


def _scores(images: Tensor | None, *rest: Any) -> np.ndarray:
    return np.zeros(0, np.float32) if images is None else score_batch(images, *rest)


def _finished(entry: tuple[list[int], Future[np.ndarray], list[tuple[int, str]]]) -> Scored:
    indices, future, bad = entry
    return indices, future.result(), bad


@torch.no_grad()
def score_batch(
    images: Tensor,
    names: list[str],
    models: tuple[FeatureModel, FeatureModel],
    precision: str = "fp32",
) -> np.ndarray:
    """Scores (B,) float32 of images (B, 3, H, W), pixels 0..255.

    Args:
        images: of the transform.
        names: B names, for messages.
        models: theta_s and theta_t.
        precision: see :class:`~cfs.scoring.options.ScoringOptions`.

    Raises:
        UserError: features of different sizes, or one that is not finite.
    """
    images = images.to(models[0].pixel_mean.device, non_blocking=True)
    dtype = PRECISIONS[precision]
    with torch.autocast(images.device.type, dtype) if dtype else contextlib.nullcontext():
        features = [model(images).float().cpu() for model in models]
    sizes = [feature.shape[1] for feature in features]
    if sizes[0] != sizes[1]:
        raise UserError(
            f"the source model's features have {sizes[0]} numbers, the target model's {sizes[1]}; "
            "the target model must be the source model after training on the target"
        )
    for model, feature in zip(models, features, strict=True):
        check_features(feature, names, model)
    return cosines(*features).numpy()
