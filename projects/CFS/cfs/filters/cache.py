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
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from reid_common.shards import write_arrays

from .measurements import Measurement

logger = logging.getLogger(__name__)

COLUMNS = ("names", "stamps", "values")


def no_entries(measurement: Measurement, count: int = 0) -> np.ndarray:
    """What is known of ``count`` images: nothing yet.

    Returns:
        (count,) with the fields names (hash of the image's name, uint64), stamps (2 int64), values
        (as the measurement has them) and reasons (str: why it could not be measured; "" if it
        could).
    """
    fields = [
        ("names", np.uint64),
        ("stamps", np.int64, 2),
        ("values", measurement.dtype, (measurement.width,)),
        ("reasons", object),
    ]
    entries = np.zeros(count, fields)
    entries["reasons"] = ""
    return entries


def name_hash(name: str) -> int:
    """64 bits that stand for an image's name; relative paths count from the working directory."""
    path = name if name.startswith("/") else os.path.abspath(name)
    digest = hashlib.blake2b(os.fsencode(path), digest_size=8).digest()
    return int.from_bytes(digest, "little")


class MeasurementCache:
    """The entries of one measurement in a folder of all measurements."""

    def __init__(self, folder: str, measurement: Measurement) -> None:
        self.folder = Path(folder) / measurement.key
        self.measurement = measurement
        self.shards = sorted(self.folder.glob("*.npz"))
        entries = self._read_all(self.shards)
        self.entries = entries[np.argsort(entries["names"], kind="stable")]
        self.names = np.ascontiguousarray(self.entries["names"])

    def find(self, names: np.ndarray, stamps: np.ndarray) -> np.ndarray:
        """Row in :attr:`entries` of each image, (n,) int64; -1 where there is none of this stamp.

        Args:
            names: hashes, (n,) uint64.
            stamps: (n, 2) int64, as they are now.
        """
        rows = np.full(len(names), -1, np.int64)
        known = self.names
        start, stop = np.searchsorted(known, names, "left"), np.searchsorted(known, names, "right")
        # An image that was changed has several entries.
        for offset in range(int((stop - start).max(initial=0))):
            place = np.minimum(start + offset, len(known) - 1)
            right = (start + offset < stop) & (self.entries["stamps"][place] == stamps).all(1)
            rows[right] = place[right]
        return rows

    def add(self, entries: np.ndarray) -> None:
        """Write new entries into a shard of their own; :meth:`find` does not know them."""
        path = self.folder / f"{uuid.uuid4().hex}.npz"
        bad = np.flatnonzero(entries["reasons"] != "")
        columns = {name: entries[name] for name in COLUMNS}
        reasons = entries["reasons"][bad].astype(np.str_)
        write_arrays(path, {**columns, "bad": bad, "reasons": reasons})
        self.shards.append(path)

    def merge(self) -> None:
        """Put all shards that this object has read or written into one."""
        if len(self.shards) < 2:
            return
        old, self.shards = self.shards, []
        self.add(self._read_all(old))
        for path in old:
            path.unlink(missing_ok=True)

    def _read_all(self, paths: Sequence[Path]) -> np.ndarray:
        return np.concatenate([no_entries(self.measurement), *map(self._read, paths)])

    def _read(self, path: Path) -> np.ndarray:
        """Entries of a shard; none of one that is damaged, or that another run has merged."""
        try:
            with np.load(path, allow_pickle=False) as arrays:
                entries = no_entries(self.measurement, len(arrays["names"]))
                for name in COLUMNS:
                    if arrays[name].shape != entries[name].shape:
                        raise ValueError(f"{name} of shape {arrays[name].shape}")
                    entries[name] = arrays[name]
                entries["reasons"][arrays["bad"]] = arrays["reasons"]
                return entries
        except FileNotFoundError:
            pass
        except (OSError, ValueError, KeyError, IndexError, EOFError, zipfile.BadZipFile) as error:
            logger.warning("%s is damaged and not used: %s", path, error)
        return no_entries(self.measurement)
