"""All filters of a config, one after the other, on a whole training set."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from dinopretrain.data.images import UnlabelledImages

from ..images.keys import key_list
from .base import Items
from .measured_images import measured
from .registry import build_filters
from .report import DROPPED, EXAMPLES, FilterReport, dropped_file, reason_table, write_summary

logger = logging.getLogger(__name__)


def run_filters(
    entries: Sequence[Mapping[str, Any]], images: UnlabelledImages, cache: str, output: str
) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Filter a training set, and write down what was dropped and why.

    All filters look their names up before any image is measured, so that a wrong list is noticed at
    once.

    Args:
        entries: DATASETS.FILTERS.
        images: the training set.
        cache: folder of measurements.
        output: folder of filters_summary.json, filters_summary.md and filters_dropped.csv.

    Returns:
        (K,) int64, ascending indices of the images that are kept; what each filter did.

    Raises:
        UserError: a filter or its file is wrong, or the results cannot be written.
    """
    filters = build_filters(entries)
    keys = key_list(images)
    for one in filters:
        one.look_up(images, keys)
    positions = np.arange(len(images))
    done: list[dict[str, Any]] = []
    with dropped_file(output) as write:
        for one, entry in zip(filters, entries, strict=True):
            options = {key: value for key, value in entry.items() if key != "NAME"}
            report = FilterReport(entry["NAME"], options, write)
            items = Items(images, positions)
            if one.measurement is not None:
                items = measured(one.measurement, images, positions, cache)
            positions = one.apply(items, report)
            done.append(report.as_dict())
    summary = {
        "images": len(images),
        "kept": len(positions),
        "filters": done,
        "examples_kept": [images.name(index) for index in positions[:EXAMPLES].tolist()],
    }
    write_summary(output, summary)
    logger.info(
        "Data filters keep %d of %d training images; %s in %s names the others\n%s",
        len(positions),
        len(images),
        DROPPED,
        output,
        reason_table(done),
    )
    return positions, done
