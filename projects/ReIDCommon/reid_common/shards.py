"""Long work on a list in shards: a finished shard is a file, so that a killed run resumes.

A folder holds a file for each finished shard and a JSON file of settings, which the run that began
the folder wrote. Each shard is a fixed range of the list and appears when it is complete, so that
the folder's content depends neither on how many processes wrote it, nor on how often they were
killed.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .digests import differences
from .files import read_json, replacing, write_json_once


class Shards:
    """``count`` entries in ranges of one size, and a folder with a file for each finished range."""

    pattern = "{:06d}.npz"
    settings_file = "settings.json"

    def __init__(self, folder: Path, count: int, size: int) -> None:
        self.folder, self.count, self.size = folder, count, size

    def file(self, number: int) -> Path:
        """Name of a shard."""
        return self.folder / self.pattern.format(number)

    def ranges(self) -> Iterator[tuple[int, range]]:
        """Yield (number, indices of its entries) of all shards."""
        for number, start in enumerate(range(0, self.count, self.size)):
            yield number, range(start, min(start + self.size, self.count))

    def missing(self) -> list[tuple[int, range]]:
        """Shards that are not finished."""
        return [(number, rows) for number, rows in self.ranges() if not self.file(number).exists()]

    def count_done(self) -> int:
        """Entries in finished shards."""
        return self.count - sum(len(rows) for _, rows in self.missing())

    def begin(self, settings: Mapping[str, Any], names: Mapping[str, str]) -> list[str]:
        """Begin or resume a folder; of several processes that begin it, the first one does.

        Of the settings that must be those of the folder, whose ``names`` in messages are given, it
        returns the names of those that are not.

        Raises:
            UserError: the folder cannot be written, or its settings cannot be read.
        """
        write_json_once(self.folder / self.settings_file, settings)
        return differences(read_json(self.folder / self.settings_file), settings, names)

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)


def write_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write a shard of arrays (.npz), complete or not at all; ``column_files.npz`` reads it."""
    with replacing(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **arrays)
