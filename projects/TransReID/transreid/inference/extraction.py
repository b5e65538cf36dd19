"""Features of many images into a file: batched, resumable after a kill, in flat memory.

The images are split into shards (:mod:`reid_common.shards`) in the folder ``<out>.parts``: arrays
``kept`` (n,), ``features`` (n, D) and ``bad``, JSON of (index, reason). At the end they become the
feature file and the folder is removed. Batches do not reach over the border of a shard, so that a
resumed run makes the same batches, and thus the same features to the last bit. Images that cannot
be read are left out and listed in ``<out>.bad.csv``.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fastreid_compat.repairs.loading.workers import WorkerLoader
from reid_common.column_files.npz import read_npz
from reid_common.digests import differences, images_digest
from reid_common.errors import UserError
from reid_common.left_out import MOST
from reid_common.shards import Shards, write_arrays
from reid_common.tables import read_rows
from torch.utils.data import Dataset
from tqdm import tqdm

from .bad_list import BAD_COLUMNS, bad_list, check_enough, write_bad_list
from .extractor import FeatureExtractor
from .feature_files import SAME_SPACE, checked_suffix, read_meta, write_feature_blocks
from .image_inputs import to_rgb
from .image_lists import ImageItem
from .settling import settle

logger = logging.getLogger(__name__)

SHARD_SIZE = 512
# What a resumed extraction must agree in: key in the meta data -> name in messages.
SAME_RUN = {
    **SAME_SPACE,
    "images_sha256": "list of images (or an image file has changed)",
    "precision": "precision",
    "backend": "backend",
    "shard_size": "shard size",
}


@dataclass
class ExtractionReport:
    """What an extraction did."""

    out: Path  # the feature file
    num_images: int = 0  # in it
    bad: list[tuple[str, str]] = field(default_factory=list)  # (path, reason) of what was left out
    resumed: int = 0  # images that an earlier, interrupted call had done


class ListedImages(Dataset):
    """Images of a list as tensors (3, H, W); what cannot be read comes as a reason."""

    def __init__(self, items: Sequence[ImageItem], transform: Any) -> None:
        self.items, self.transform = items, transform

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> tuple[int, torch.Tensor | str]:
        path = self.items[index].path
        try:
            return index, self.transform(to_rgb(path))
        except Exception as error:  # Pillow's decoders raise anything
            reason = str(error).removeprefix(f"image {path!r} ").splitlines()
            return index, reason[0] if reason else type(error).__name__


Batch = tuple[list[int], torch.Tensor | None, list[tuple[int, str]]]


def collate(samples: list[tuple[int, torch.Tensor | str]]) -> Batch:
    """Return the indices that could be read, their images (B, 3, H, W), and (index, reason)."""
    good = [(index, image) for index, image in samples if isinstance(image, torch.Tensor)]
    bad = [(index, reason) for index, reason in samples if isinstance(reason, str)]
    images = torch.stack([image for _, image in good]) if good else None
    return [index for index, _ in good], images, bad


def describe(extractor: FeatureExtractor, items: Sequence[ImageItem]) -> dict[str, Any]:
    """Meta data of the features of ``items``, as JSON can hold it.

    "config" has the keys that a feature depends on, "weights_sha256" is of the file "weights", and
    "images_sha256" of the images' paths, ids, sizes and times.
    """
    import timm  # late: seconds

    return {
        **extractor.about(),
        "images_sha256": images_digest(items),
        "precision": extractor.precision,
        "backend": extractor.backend,
        "feature_dim": extractor.feature_dim,
        "versions": {"torch": torch.__version__, "timm": timm.__version__},
    }


def extract_to_file(
    extractor: FeatureExtractor,
    items: Sequence[ImageItem],
    out: str | Path,
    num_workers: int = 0,
    shard_size: int = SHARD_SIZE,
    overwrite: bool = False,
    max_bad: float = MOST,
) -> ExtractionReport:
    """Write the features of listed images to a feature file.

    Args:
        items: the images; paths, ids and order go into the file as they are.
        out: .npz or .parquet.
        num_workers: processes that read images; 0 reads in this one.
        shard_size: images a shard: what a kill costs at most.
        overwrite: replace a file of other settings, and drop unfinished shards of other settings.
        max_bad: greatest share of the images, 0..1, that may be left out.

    Raises:
        UserError: no image can be read, or too few, ids that the model has no row for, ``out``
            cannot be written, or it, or shards beside it, were made with other weights, config or
            list, or before an image file changed.
    """
    out = checked_suffix(out)
    if shard_size < 1 or num_workers < 0:
        raise UserError(f"shard_size is {shard_size}, num_workers {num_workers}; at least 1 and 0")
    extractor.checked_ids([i.camid for i in items], [i.viewid for i in items], len(items))
    parts = Shards(out.with_name(f"{out.name}.parts"), len(items), shard_size)
    settle(extractor, items, out, parts, overwrite)
    meta = describe(extractor, items)
    if out.exists() and not overwrite:
        return _finished_before(out, meta, parts)
    _begin(parts, {**meta, "shard_size": shard_size}, overwrite)
    resumed = parts.count_done()
    _fill(extractor, items, parts, num_workers)
    report = _merge(items, parts, out, meta, extractor.feature_dim, max_bad)
    report.resumed = resumed
    return report


def _finished_before(out: Path, meta: dict[str, Any], parts: Shards) -> ExtractionReport:
    """Of a call whose output is there already: nothing to do, or an error."""
    done, count = read_meta(out)
    different = differences(done, meta, SAME_RUN)
    if different:
        raise UserError(
            f"{out} was made with another {', another '.join(different)}; choose another output, "
            "or replace it with --overwrite"
        )
    parts.remove()  # killed between the last two steps
    bad: list[tuple[str, str]] = []
    if bad_list(out).exists():
        rows = read_rows(str(bad_list(out)), BAD_COLUMNS, BAD_COLUMNS)
        bad = [(row["image"], row["reason"]) for _, row in rows]
    return ExtractionReport(out, count, bad, resumed=count)


def _begin(parts: Shards, settings: dict[str, Any], overwrite: bool) -> None:
    """Begin or resume an extraction; what another one has left is refused, or removed."""
    different = parts.begin(settings, SAME_RUN)
    if different:
        if not overwrite:
            raise UserError(
                f"{parts.folder} holds an unfinished extraction with another "
                f"{', another '.join(different)}; finish it, choose another output, or replace it "
                "with --overwrite"
            )
        parts.remove()
        parts.begin(settings, SAME_RUN)


def _fill(
    extractor: FeatureExtractor, items: Sequence[ImageItem], parts: Shards, num_workers: int
) -> None:
    """Extract the shards that are missing, one after the other."""
    missing, done, size = parts.missing(), parts.count_done(), extractor.batch_size
    batches = [rows[i : i + size] for _, rows in missing for i in range(0, len(rows), size)]
    loader = WorkerLoader(
        ListedImages(items, extractor.transform),
        batch_sampler=batches,
        num_workers=num_workers,
        collate_fn=collate,
        pin_memory=extractor.device.type == "cuda",
    )
    stream = iter(loader)
    with tqdm(None, "extract", parts.count, unit="image", initial=done) as progress:
        for number, rows in missing:
            kept: list[int] = []
            bad: list[tuple[int, str]] = []
            features = [np.empty((0, extractor.feature_dim), np.float32)]
            for _ in range(0, len(rows), size):
                indices, images, faults = next(stream)
                if images is not None:
                    ids = torch.tensor([(items[i].camid, items[i].viewid) for i in indices])
                    features.append(extractor.extract(images, *ids.unbind(1)).numpy())
                kept += indices
                bad += faults
                progress.update(len(indices) + len(faults))
            for index, reason in bad:
                logger.info("%s left out: %s", items[index].path, reason)
            columns = {"kept": np.array(kept, np.int64), "features": np.concatenate(features)}
            write_arrays(parts.file(number), {**columns, "bad": json.dumps(bad)})


def _merge(
    items: Sequence[ImageItem],
    parts: Shards,
    out: Path,
    meta: dict[str, Any],
    dim: int,
    max_bad: float,
) -> ExtractionReport:
    """Make the feature file and the list of bad images of all shards, remove the shards."""
    kept: list[int] = []
    report = ExtractionReport(out)
    for number, _ in parts.ranges():
        shard = read_npz(parts.file(number), ("kept", "bad"))
        kept += shard["kept"].tolist()
        report.bad += [(items[i].path, reason) for i, reason in json.loads(str(shard["bad"]))]
    report.num_images = len(kept)
    write_bad_list(out, report.bad)
    if not kept:
        parts.remove()
    check_enough(len(items), report.bad, out, max_bad)
    columns = {
        "pids": [items[i].pid for i in kept],
        "camids": [items[i].camid for i in kept],
        "viewids": [items[i].viewid for i in kept],
    }
    known = {name: np.array(ids, np.int64) for name, ids in columns.items() if max(ids) >= 0}
    files = (parts.file(number) for number, _ in parts.ranges())
    blocks = (read_npz(file, ("features",))["features"] for file in files)
    write_feature_blocks(out, [items[i].path for i in kept], dim, blocks, known, meta)
    parts.remove()
    return report
