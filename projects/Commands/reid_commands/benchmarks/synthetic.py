"""Synthetic names, listings and JPEGs of a data set like LUPerson, for benchmarks."""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from cfs.scores.shards import ScoreShards
from cfs.scoring.options import SHARD_SIZE

LUPERSON = 4_180_243  # images
LISTINGS = ("text", "parquet", "pickle", "lmdb")


def names(count: int) -> Iterator[str]:
    """Names as long as LUPerson's."""
    for i in range(count):
        yield f"{i // 1000:05d}_video_{i * 2654435761 % 2**32:08x}/frame_{i % 1000:06d}_person.jpg"


def write_listing(folder: Path, kind: str, count: int) -> Path:
    """Write a listing of one of LISTINGS to a new folder; the first image exists.

    Returns:
        The path that a config names; its data set is "LUPerson:" and that.
    """
    first = folder / next(names(1))
    first.parent.mkdir(parents=True)
    first.touch()
    path = folder / {"text": "list.txt", "parquet": "list.parquet"}.get(kind, "CFS_list.pkl")
    if kind == "text":
        path.write_text("".join(f"{name}\n" for name in names(count)))
    elif kind == "parquet":
        import pyarrow
        from pyarrow import parquet

        parquet.write_table(pyarrow.table({"image": list(names(count))}), path)
    else:
        if kind == "lmdb":
            import lmdb

            with lmdb.open(str(folder / "lmdb")) as base, base.begin(write=True) as transaction:
                transaction.put(next(names(1)).encode(), b"image")
            path = folder / "keys.pkl"
        path.write_bytes(pickle.dumps(list(names(count))))
    return folder if kind == "lmdb" else path


def write_scores(folder: Path, paths: Iterator[str], count: int) -> None:
    """Write shards of ``count`` random scores."""
    rng = np.random.default_rng(0)
    shards = ScoreShards(folder, {"count": count, "shard_size": SHARD_SIZE})
    shards.prepare()
    for number, _ in shards.ranges():
        some = list(itertools.islice(paths, SHARD_SIZE))
        values = rng.normal(0.7, 0.1, len(some)).clip(-1, 1).astype(np.float32)
        shards.write(number, some, values, [None] * len(some))


def jpegs(size: tuple[int, int], count: int) -> list[bytes]:
    """JPEG files of (H, W) pixels with coarse and fine structure."""
    rng = np.random.default_rng(0)
    files = []
    for _ in range(count):
        coarse = rng.integers(0, 256, (8, 4, 3), dtype=np.uint8)
        image = cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC).astype(np.int16)
        image += rng.integers(-16, 17, image.shape, dtype=np.int16)
        files.append(cv2.imencode(".jpg", image.clip(0, 255).astype(np.uint8))[1].tobytes())
    return files
