"""A folder of scores: ``part-00000.parquet`` ... with path, score and reason, and ``meta.json``.

The shards are those of :mod:`reid_common.shards`: the folder's content does not depend on how many
processes made it, nor on how often they were killed.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from reid_common.column_files.parquet import import_pyarrow
from reid_common.errors import UserError
from reid_common.files import replacing
from reid_common.locks import only_holder
from reid_common.shards import Shards

META = "meta.json"
_AGAIN = "delete it and call tools/cfs_scores.py score again"
# What must agree for shards of two calls to be of one result: key in meta.json -> name.
SAME_SCORES = {
    "source_sha256": "file of source weights",
    "target_sha256": "file of target weights",
    "source_config": "config of the source model",
    "target_config": "config of the target model",
    "count": "number of images",
    "names_sha256": "list of images",
    "precision": "precision",
    "batch_size": "batch size",
    "shard_size": "shard size",
}


class ScoreShards(Shards):
    """The shards of a folder of scores, to be written.

    ``meta`` is the content of meta.json; "count" and "shard_size" say what the shards are.
    """

    pattern = "part-{:05d}.parquet"
    settings_file = META

    def __init__(self, folder: Path, meta: dict[str, Any]) -> None:
        super().__init__(folder, meta["count"], meta["shard_size"])
        self.meta = meta

    def prepare(self) -> None:
        """Make the folder, or see that it is of the same weights, settings and images."""
        if (self.folder / META).exists():
            read_meta(self.folder)  # refuses a damaged one
        elif any(self.folder.glob("part-*.parquet")):
            raise UserError(
                f"{str(self.folder)!r} holds Parquet files but no {META}: they are no scores, "
                "or not all of them; choose another folder"
            )
        different = self.begin(self.meta, SAME_SCORES)
        if different:
            raise UserError(
                f"{str(self.folder)!r} holds scores with another {', another '.join(different)}; "
                "choose another folder, or delete this one"
            )

    def write(
        self, number: int, paths: list[str], scores: np.ndarray, reasons: list[str | None]
    ) -> None:
        """Write a finished shard of n names and scores (n,) float32, all or not at all.

        NaN becomes null; a reason says why an image has no score, None for those that have one.
        """
        pa = import_pyarrow()
        columns = {
            "path": pa.array([os.fsencode(path) for path in paths]).cast(pa.string(), safe=False),
            "score": pa.array(scores, pa.float32(), from_pandas=True),
            "reason": pa.array(reasons, pa.string()),
        }
        with replacing(self.file(number)) as temporary:
            pa.parquet.write_table(pa.table(columns), temporary)


def only_process(folder: Path, rank: int) -> contextlib.AbstractContextManager[None]:
    """Keep a second process of the same rank out of a folder: entering it raises UserError."""
    refusal = (
        f"another process (rank {rank}) is scoring into {str(folder)!r}; wait for it. For several "
        "at a time start them with torchrun, or give each its RANK and WORLD_SIZE"
    )
    return only_holder(folder / f".rank-{rank}.lock", refusal)


def read_meta(folder: Path) -> dict[str, Any]:
    """Content of a folder's meta.json; UserError if there is none, or it is damaged."""
    path = folder / META
    if not path.is_file():
        raise UserError(
            f"{str(folder)!r} is no folder of scores: there is no {META} in it; make one with "
            "tools/cfs_scores.py score"
        )
    try:
        meta = json.loads(path.read_text())
        int(meta["count"]), int(meta["shard_size"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{str(path)!r} cannot be read: {error}; score again") from error
    return meta


def check_complete(folder: Path) -> None:
    """Raise UserError if a shard of a folder is missing, damaged, or of another length."""
    pa = import_pyarrow()
    shards = ScoreShards(folder, read_meta(folder))
    missing = shards.missing()
    if missing:
        total = -(-shards.count // shards.size)
        raise UserError(
            f"{str(folder)!r} is not complete: {len(missing)} of {total} shards are missing, the "
            f"first is {shards.file(missing[0][0]).name}; call tools/cfs_scores.py score again, it "
            "resumes"
        )
    for number, rows in shards.ranges():
        file = shards.file(number)
        try:
            length = pa.parquet.read_metadata(file).num_rows
        except (pa.ArrowException, OSError) as error:
            raise UserError(f"{str(file)!r} cannot be read: {error}; {_AGAIN}") from error
        if length != len(rows):
            raise UserError(f"{str(file)!r} has {length} rows, not {len(rows)}; {_AGAIN}")


def read_reasons(files: Sequence[str | Path]) -> list[tuple[str, str]]:
    """Name of each image without a score, and why it has none, of Parquet files of scores."""
    pa = import_pyarrow()
    reasons: list[tuple[str, str]] = []
    for file in files:
        if "reason" not in pa.parquet.read_schema(file).names:
            continue
        table = pa.parquet.read_table(file, columns=["path", "reason"])
        bad = table.filter(pa.compute.is_valid(table["reason"]))
        reasons += zip(bad["path"].to_pylist(), bad["reason"].to_pylist(), strict=True)
    return reasons
