"""Synthetic names, listings and images of a data set like LUPerson, for benchmarks."""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from cfs.scores.shards import ScoreShards
from cfs.scoring.options import SHARD_SIZE
from dinopretrain.data.images import UnlabelledImages

LUPERSON = 4_180_243  # images
# Kind of listing -> its file
FILES = ("list.txt", "list.parquet", "CFS_list.pkl", "keys.pkl")
LISTINGS = dict(zip(("text", "parquet", "pickle", "lmdb"), FILES, strict=True))


def names(count: int) -> Iterator[str]:
    """Names as long as LUPerson's."""
    return map(name_of, range(count))


def name_of(index: int) -> str:
    """The name of one image."""
    number = index * 2654435761 % 2**32
    return f"{index // 1000:05d}_video_{number:08x}/frame_{index % 1000:06d}_person.jpg"


def write_listing(folder: Path, kind: str, count: int) -> Path:
    """Write a listing, of LISTINGS or "scores", to a new folder; the first image exists.

    Returns:
        The path that a config names; its data set is "LUPerson:" and that.
    """
    if kind == "scores":
        write_scores(folder, names(count), count)
        return folder
    first = folder / name_of(0)
    first.parent.mkdir(parents=True)
    first.touch()
    path = folder / LISTINGS[kind]
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
                transaction.put(name_of(0).encode(), b"image")
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


class Drawn(UnlabelledImages):
    """``count`` images with LUPerson's names, whose files are ``jpegs`` over and over."""

    def __init__(self, count: int, jpegs: list[bytes]) -> None:
        self.count, self.jpegs = count, jpegs

    def __len__(self) -> int:
        return self.count

    def name(self, index: int) -> str:
        """As long as LUPerson's."""
        return name_of(index)

    def stamp(self, index: int) -> tuple[int, int]:
        """Always the same."""
        return 0, 0

    def content(self, index: int) -> bytes:
        """One of the JPEGs."""
        return self.jpegs[index % len(self.jpegs)]
