"""The finished parts of a long extraction, as files beside its output."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from reid_common.errors import UserError
from reid_common.files import replacing

from .npz_files import read_npz
from .run_meta import differences


class ShardFiles:
    """A listing in ranges of one size, and a folder with a file for each range that is done.

    Args:
        folder: where the files are.
        count: N, number of images.
        size: images a shard; the last may have fewer.
    """

    pattern = "{:06d}.npz"

    def __init__(self, folder: Path, count: int, size: int) -> None:
        self.folder, self.count, self.size = folder, count, size

    def file(self, number: int) -> Path:
        """Name of a shard."""
        return self.folder / self.pattern.format(number)

    def ranges(self) -> Iterator[tuple[int, range]]:
        """Yield (number, indices of its images) of all shards."""
        for number, start in enumerate(range(0, self.count, self.size)):
            yield number, range(start, min(start + self.size, self.count))

    def missing(self) -> list[tuple[int, range]]:
        """Shards that are not done."""
        return [(number, rows) for number, rows in self.ranges() if not self.file(number).exists()]

    def count_done(self) -> int:
        """Images in finished shards."""
        return self.count - sum(len(rows) for _, rows in self.missing())


class Shards(ShardFiles):
    """The folder of finished shards beside an output file.

    Args:
        out: the output file.
        settings: what must be the same in a call that goes on.
        count: N, number of images.
        size: images a shard.
    """

    def __init__(self, out: Path, settings: dict[str, Any], count: int, size: int) -> None:
        super().__init__(out.with_name(f"{out.name}.parts"), count, size)
        self.settings = settings

    def prepare(self, overwrite: bool) -> None:
        """Make the folder, or see that what is in it belongs to this run.

        Raises:
            UserError: it was begun with other settings, and ``overwrite`` is False.
        """
        settings = self.folder / "settings.json"
        if settings.exists():
            different = differences(json.loads(settings.read_text()), self.settings)
            if not different:
                return
            if not overwrite:
                raise UserError(
                    f"{self.folder} holds an unfinished extraction with another "
                    f"{', another '.join(different)}; finish that one, choose another output, or "
                    "start anew with --overwrite"
                )
            self.remove()
        with replacing(settings) as temporary:
            temporary.write_text(json.dumps(self.settings, indent=2))

    def write(self, number: int, kept: list[int], features: np.ndarray, bad: list) -> None:
        """Write a finished shard, all or not at all."""
        with replacing(self.file(number)) as temporary, open(temporary, "wb") as file:
            np.savez(file, kept=np.array(kept, np.int64), features=features, bad=json.dumps(bad))

    def read(self, number: int) -> dict[str, Any]:
        """Arrays ``kept`` (n,), ``features`` (n, D) and ``bad``, JSON of (index, reason)."""
        return read_npz(self.file(number), ("kept", "features", "bad"))

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)
