"""Measure the images that a filter needs to know, in threads, and only those that are not known."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
from dinopretrain.data.images import BadImage, UnlabelledImages
from tqdm import tqdm

from .base import Items
from .cache import MeasurementCache, name_hash, no_entries
from .measurements import Measurement

logger = logging.getLogger(__name__)

BLOCK = 4096  # images whose measurements are written together: a kill loses no more
GONE = (-1, -1)  # stamp of what is not there


def measured(
    measurement: Measurement, images: UnlabelledImages, positions: np.ndarray, folder: str
) -> Items:
    """Measure images (N,) int64 of a training set, or look up what was measured before.

    What is known is kept in ``folder``, see :mod:`cfs.filters.cache`.
    """
    cache = MeasurementCache(folder, measurement)
    values = np.zeros((len(positions), measurement.width), measurement.dtype)
    errors: dict[int, str] = {}
    total_new = 0
    bar = tqdm(desc=measurement.key, total=len(positions), unit="image")
    with bar, ThreadPoolExecutor() as pool:  # decoders let other threads run
        for start in range(0, len(positions), BLOCK):
            chosen = positions[start : start + BLOCK]
            entries, num_new = _block(measurement, images, chosen, cache, pool)
            values[start : start + BLOCK] = entries["values"]
            for row in np.flatnonzero(entries["reasons"] != "").tolist():
                errors[int(chosen[row])] = str(entries["reasons"][row])
            total_new += num_new
            bar.update(len(chosen))
    cache.merge()
    logger.info(
        "%s of %d images: %d measured now, %d known before",
        measurement.key,
        len(positions),
        total_new,
        len(positions) - total_new,
    )
    return Items(images, positions, values, errors)


def _block(
    measurement: Measurement,
    images: UnlabelledImages,
    chosen: np.ndarray,
    cache: MeasurementCache,
    pool: ThreadPoolExecutor,
) -> tuple[np.ndarray, int]:
    """Entries of some images, and how many of them were measured now."""
    entries = no_entries(measurement, len(chosen))
    entries["names"] = [name_hash(images.name(index)) for index in chosen.tolist()]
    entries["stamps"] = [_stamp(images, index) for index in chosen.tolist()]
    rows = cache.find(entries["names"], entries["stamps"])
    entries[rows >= 0] = cache.entries[rows[rows >= 0]]
    new = np.flatnonzero(rows < 0)
    lasting = []
    measure = partial(_measure, measurement, images)
    for row, result in zip(new.tolist(), pool.map(measure, chosen[new].tolist()), strict=True):
        entries["values"][row], entries["reasons"][row], lasts = result
        if lasts:
            lasting.append(row)
    if lasting:
        cache.add(entries[lasting])
    return entries, len(new)


def _measure(
    measurement: Measurement, images: UnlabelledImages, index: int
) -> tuple[object, str, bool]:
    """Values, what is wrong ("" for nothing), and whether that stays while the file does."""
    try:
        return measurement.measure(images, index), "", True
    except BadImage as error:
        return 0, error.reason, not isinstance(error.__cause__, OSError)
    except OSError as error:  # a disk that is away for a moment must not be remembered
        return 0, error.strerror or str(error), False
    except ValueError as error:
        return 0, " ".join(str(error).split())[:200], True


def _stamp(images: UnlabelledImages, index: int) -> tuple[int, int]:
    try:
        return images.stamp(index)
    except OSError:
        return GONE
