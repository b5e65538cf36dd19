"""The filter by catastrophic forgetting score, or any other score or ranking."""

from __future__ import annotations

import logging

import numpy as np
from dinopretrain.data.images import UnlabelledImages
from dinopretrain.data.path_list import PathList
from reid_common.errors import UserError
from reid_core.data.opening import data_root, find_path

from ..images.keys import positions_in
from ..scores.reading import Scores, read_scores, score_files
from ..scores.selection import check_keep, number_kept, select
from .base import DataFilter, Drop, Items
from .registry import FILTER_REGISTRY

logger = logging.getLogger(__name__)


@FILTER_REGISTRY.register()
class CFSFilter(DataFilter):
    """Keeps the images of the highest score; see :func:`cfs.scores.selection.select`.

    Args:
        scores: what :func:`cfs.scores.reading.read_scores` reads, as given or in the data root.
        keep: fraction, 0..1, of the images that reach this filter and have a score.
        keep_num: number of images; one of the two must be given.
    """

    files = ("SCORES",)

    def __init__(self, scores: str, keep: float | None = None, keep_num: int | None = None) -> None:
        if keep is None and keep_num is None:
            raise UserError("KEEP or KEEP_NUM is needed, as in KEEP: 0.5 for the best half")
        check_keep(keep, keep_num)
        self.keep, self.keep_num = keep, keep_num
        self.path = find_path(str(scores), data_root(), "scores, or a list sorted best first")
        score_files(self.path)

    def look_up(self, images: UnlabelledImages, keys: PathList) -> None:
        """Read the scores and find the images in them."""
        self.scores: Scores = read_scores(self.path)
        self.places = positions_in(self.scores.names, self.path, images, keys)

    def prepare(self, items: Items) -> None:
        """Select."""
        places = self.places[items.positions]
        found = np.flatnonzero(places >= 0)
        names = self.scores.names.take(places[found])
        self.values = np.full(len(items), np.nan)
        self.values[found] = self.scores.values[places[found]]
        chosen = select(names, self.values[found], self.keep, self.keep_num)
        self.chosen = np.zeros(len(items), bool)
        self.chosen[found[chosen]] = True
        num_scored = int((~np.isnan(self.values)).sum())
        if self.keep_num is not None and self.keep_num > num_scored:
            logger.warning(
                "CFSFilter: KEEP_NUM is %d, but only %d images that reach it have a score in %s",
                self.keep_num,
                num_scored,
                self.path,
            )
        self.reason = f"not among the best {number_kept(num_scored, self.keep, self.keep_num)}"

    def judge(self, items: Items, row: int) -> Drop | None:
        """Drop what has no score, or not one of the highest."""
        if self.chosen[row]:
            return None
        value = self.values[row]
        if np.isnan(value):
            return Drop("no score")
        if self.scores.are_places:
            return Drop(self.reason, f"place {1 - int(value)}")
        return Drop(self.reason, f"score {value:.6f}")
