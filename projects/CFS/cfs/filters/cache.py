"""Measurements of images, kept on disk, so that no image is measured twice.

A folder for each measurement holds shards (npz) that are whole or not there. An entry belongs to an
image by the hash of its name and the stamp (size, time of change) of its file: an image that was
changed is measured again, one that merely stands elsewhere in the order is not. Several runs may
use one folder at the same time.
"""

from __future__ import annotations

import hashlib
import logging
import os
import uuid
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from reid_common.files import replacing

from .measurements import Measurement

logger = logging.getLogger(__name__)


@dataclass
class Entries:
    """What is known of N images.

    Attributes:
        names: hash of each image's name, (N,) uint64.
        stamps: (N, 2) int64.
        values: (N, width).
        reasons: (N,) str objects: why an image could not be measured; "" if it could.
    """

    names: np.ndarray
    stamps: np.ndarray
    values: np.ndarray
    reasons: np.ndarray

    def __len__(self) -> int:
        return len(self.names)

    def take(self, rows: np.ndarray) -> Entries:
        """Some of them."""
        return Entries(self.names[rows], self.stamps[rows], self.values[rows], self.reasons[rows])


def no_entries(measurement: Measurement, count: int = 0) -> Entries:
    """Entries that say nothing yet."""
    return Entries(
        np.zeros(count, np.uint64),
        np.zeros((count, 2), np.int64),
        np.zeros((count, measurement.width), measurement.dtype),
        np.full(count, "", object),
    )


def joined(parts: Sequence[Entries]) -> Entries:
    """Entries of all parts, one after the other."""
    columns = ("names", "stamps", "values", "reasons")
    return Entries(*(np.concatenate([getattr(part, name) for part in parts]) for name in columns))


def name_hash(name: str) -> int:
    """64 bits that stand for an image's name; relative paths count from the working directory."""
    path = name if name.startswith("/") else os.path.abspath(name)
    digest = hashlib.blake2b(os.fsencode(path), digest_size=8).digest()
    return int.from_bytes(digest, "little")


class MeasurementCache:
    """The entries of one measurement in a folder.

    Args:
        folder: of all measurements.
        measurement: whose entries these are.
    """

    def __init__(self, folder: str, measurement: Measurement) -> None:
        self.folder = Path(folder) / measurement.key
        self.measurement = measurement
        self.shards = sorted(self.folder.glob("*.npz"))
        entries = self._read_all(self.shards)
        self.entries = entries.take(np.argsort(entries.names, kind="stable"))

    def find(self, names: np.ndarray, stamps: np.ndarray) -> np.ndarray:
        """Look images up.

        Args:
            names: hashes, (n,) uint64.
            stamps: (n, 2) int64, as they are now.

        Returns:
            (n,) int64: row in :attr:`entries`, -1 where there is none of this stamp.
        """
        rows = np.full(len(names), -1, np.int64)
        known = self.entries.names
        start, stop = np.searchsorted(known, names, "left"), np.searchsorted(known, names, "right")
        # An image that was changed has several entries.
        for offset in range(int((stop - start).max(initial=0))):
            place = np.minimum(start + offset, len(known) - 1)
            right = (start + offset < stop) & (self.entries.stamps[place] == stamps).all(1)
            rows[right] = place[right]
        return rows

    def add(self, entries: Entries) -> None:
        """Write new entries into a shard of their own; :meth:`find` does not know them."""
        path = self.folder / f"{uuid.uuid4().hex}.npz"
        bad = np.flatnonzero(entries.reasons != "")
        with replacing(path) as temporary, open(temporary, "wb") as file:
            np.savez(
                file,
                names=entries.names,
                stamps=entries.stamps,
                values=entries.values,
                bad=bad,
                reasons=entries.reasons[bad].astype(np.str_),
            )
        self.shards.append(path)

    def merge(self) -> None:
        """Put all shards that this object has read or written into one."""
        if len(self.shards) < 2:
            return
        old, self.shards = self.shards, []
        self.add(self._read_all(old))
        for path in old:
            path.unlink(missing_ok=True)

    def _read_all(self, paths: Sequence[Path]) -> Entries:
        found = (self._read(path) for path in paths)
        return joined([no_entries(self.measurement), *(x for x in found if x is not None)])

    def _read(self, path: Path) -> Entries | None:
        try:
            with np.load(path, allow_pickle=False) as file:
                return self._checked(file)
        except FileNotFoundError:  # another run has merged it
            return None
        except (OSError, ValueError, KeyError, IndexError, EOFError, zipfile.BadZipFile) as error:
            logger.warning("%s is damaged and not used: %s", path, error)
            return None

    def _checked(self, arrays: Mapping[str, np.ndarray]) -> Entries:
        entries = no_entries(self.measurement, len(arrays["names"]))
        for name in ("names", "stamps", "values"):
            if arrays[name].shape != getattr(entries, name).shape:
                raise ValueError(f"{name} of shape {arrays[name].shape}")
            setattr(entries, name, arrays[name])
        entries.reasons[arrays["bad"]] = arrays["reasons"]
        return entries
