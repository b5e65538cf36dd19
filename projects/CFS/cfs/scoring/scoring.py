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
from collections.abc import Callable, Generator, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from dinopretrain.data.images import BadImage, UnlabelledImages
from dinopretrain.data.path_list import PathList
from dinopretrain.transforms.views import use_one_thread
from fastreid_compat.repairs.loading.workers import WorkerLoader
from PIL import Image
from reid_common.column_files.parquet import import_pyarrow
from reid_common.digests import digest
from reid_common.errors import UserError
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm
from transreid.inference.extraction import Batch, collate
from transreid.inference.extractor import PRECISIONS

from ..images.keys import key_list
from ..scores.shards import ScoreShards, only_process
from .models import FeatureModel, check_features, cosines
from .options import ScoringOptions

Transform = Callable[[Image.Image], Tensor]
Scored = tuple[list[int], np.ndarray, list[tuple[int, str]]]  # of a batch: indices, scores, bad


class ResizedImages(Dataset):
    """Images as the models take them; what cannot be read comes as a reason."""

    def __init__(self, images: UnlabelledImages, transform: Transform) -> None:
        self.images, self.transform = images, transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[int, Tensor | str]:
        try:
            return index, self.transform(Image.fromarray(self.images.read(index)))
        except BadImage as error:
            return index, error.reason


def score_images(
    images: UnlabelledImages,
    source: FeatureModel,
    target: FeatureModel,
    transform: Transform,
    out: str | Path,
    options: ScoringOptions,
    info: Mapping[str, Any] = MappingProxyType({}),
) -> ScoreShards:
    """Score this process's share of the images by theta_s and theta_t; what is done already stays.

    Args:
        transform: from a PIL image to a tensor (3, H, W), pixels 0..255.
        out: folder of the scores, see :mod:`cfs.scores.shards`.
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
            total, left = (sum(len(rows) for _, rows in some) for some in (own, missing))
            hidden = options.rank > 0
            done = total - left
            with tqdm(desc="score", total=total, unit="image", initial=done, disable=hidden) as bar:
                _fill(images, keys, (source, target), transform, shards, missing, options, bar)
    return shards


def describe(
    keys: PathList, source: FeatureModel, target: FeatureModel, options: ScoringOptions
) -> dict[str, Any]:
    """What meta.json says of models, images, settings and versions."""
    import timm  # late: seconds

    return {
        "source_weights": source.weights,
        "source_sha256": source.weights_sha256,
        "source_config": source.config,
        "target_weights": target.weights,
        "target_sha256": target.weights_sha256,
        "target_config": target.config,
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


def _fill(
    images: UnlabelledImages,
    keys: PathList,
    models: tuple[FeatureModel, FeatureModel],
    transform: Transform,
    shards: ScoreShards,
    missing: list[tuple[int, range]],
    options: ScoringOptions,
    bar: Any,
) -> None:
    """Score the shards that are ``missing``, and advance a progress bar."""
    device = torch.device(options.device)
    for model in models:
        model.to(device)
    size = options.batch_size
    batches = [rows[i : i + size] for _, rows in missing for i in range(0, len(rows), size)]
    loader = WorkerLoader(
        ResizedImages(images, transform),
        batch_sampler=batches,  # type: ignore[arg-type]  # any iterable
        num_workers=options.num_workers,
        collate_fn=collate,
        pin_memory=device.type == "cuda",
        worker_init_fn=use_one_thread,
    )
    stream = _scored(loader, keys, models, options.precision)
    with contextlib.closing(stream):
        for number, rows in missing:
            scores = np.full(len(rows), np.nan, np.float32)
            reasons: list[str | None] = [None] * len(rows)
            for _ in range(0, len(rows), size):
                indices, values, bad = next(stream)
                scores[np.array(indices, np.int64) - rows.start] = values
                for index, reason in bad:
                    reasons[index - rows.start] = reason
                bar.update(len(indices) + len(bad))
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
            waiting.append(
                (indices, pool.submit(score_batch, images, names, models, precision), bad)
            )
            while len(waiting) > workers:
                indices, scores, bad = waiting.popleft()
                yield indices, scores.result(), bad
        for indices, scores, bad in waiting:
            yield indices, scores.result(), bad
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)


@torch.no_grad()
def score_batch(
    images: Tensor | None,
    names: list[str],
    models: tuple[FeatureModel, FeatureModel],
    precision: str = "fp32",
) -> np.ndarray:
    """Scores (B,) float32 of images (B, 3, H, W), pixels 0..255; B names for messages.

    Raises:
        UserError: features of different sizes, or one that is not finite.
    """
    if images is None:  # none of the batch can be read
        return np.zeros(0, np.float32)
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
