"""The filter by nearest neighbours of a target, the rival of CFS that costs no training.

Source: Oquab et al., "DINOv2: Learning Robust Visual Features without Supervision", 2023, section
3: of each curated image the nearest uncurated ones, by the cosine of self-supervised features, are
retrieved. Here the features may be those of any model: ``transreid extract`` writes them.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from dinopretrain.data.images import UnlabelledImages
from dinopretrain.data.path_list import PathList
from reid_common.errors import UserError
from reid_common.progress import shown
from reid_core.data.opening import data_root, find_path
from transreid.inference.feature_files import FeatureSet, read_features, read_meta
from transreid.inference.search import check_comparable, rank_gallery

from ..images.keys import positions_in
from ..scores.selection import check_keep, number_kept, select
from .base import DataFilter, Drop, Items
from .registry import FILTER_REGISTRY

EXAMPLE = "features of transreid extract, as in pool.npz"
NEAREST = partial(shown, what="nearest target image")
RETRIEVED = partial(shown, what="neighbours of the target")


@FILTER_REGISTRY.register()
class NeighbourFilter(DataFilter):
    """Keeps the images that are nearest to those of a target.

    One of ``keep``, ``keep_num`` and ``per_target`` must be given. The first two count from the
    images that reach this filter and have a feature, by the cosine to the nearest target image.

    Args:
        features: feature file of the training images.
        target: feature file of the target's images, of the same model.
        keep: fraction, 0..1.
        keep_num: number of images.
        per_target: of each target image this many nearest images, as DINOv2 does.
    """

    files = ("FEATURES", "TARGET")

    def __init__(
        self,
        features: str,
        target: str,
        keep: float | None = None,
        keep_num: int | None = None,
        per_target: int | None = None,
    ) -> None:
        if sum(option is not None for option in (keep, keep_num, per_target)) != 1:
            raise UserError("one of KEEP, KEEP_NUM and PER_TARGET is needed, as in KEEP: 0.5")
        check_keep(keep, keep_num)
        if per_target is not None and (type(per_target) is not int or per_target < 1):
            raise UserError(f"PER_TARGET is {per_target!r}; write a number of images, as in 4")
        self.keep, self.keep_num, self.per_target = keep, keep_num, per_target
        self.path, self.target = (
            find_path(str(path), data_root(), EXAMPLE) for path in (features, target)
        )
        for path in (self.path, self.target):
            read_meta(path)

    def look_up(self, images: UnlabelledImages, keys: PathList) -> None:
        """Read the features and find the images in them."""
        self.pool, self.targets = read_features(self.path), read_features(self.target)
        check_comparable(self.targets, self.pool, (self.target, self.path))
        names = PathList.from_iterable(self.pool.paths)
        self.places = positions_in(names, self.path, images, keys)

    def prepare(self, items: Items) -> None:
        """Search."""
        places = self.places[items.positions]
        found = np.flatnonzero(places >= 0)
        rows = places[found]
        reached = FeatureSet([self.pool.paths[row] for row in rows], self.pool.features[rows])
        self.values = np.full(len(items), np.nan)
        self.chosen = np.zeros(len(items), bool)
        if not len(reached):
            return
        ranking = rank_gallery(reached, self.targets, 1, True, NEAREST)
        self.values[found] = ranking.similarities[:, 0]
        if self.per_target is None:
            chosen = select(reached.paths, self.values[found], self.keep, self.keep_num)
            count = number_kept(len(found), self.keep, self.keep_num)
            self.reason = f"not among the {count} nearest to the target"
        else:
            ranking = rank_gallery(self.targets, reached, self.per_target, True, RETRIEVED)
            chosen = ranking.indices[ranking.indices >= 0]
            self.reason = f"not among the {self.per_target} nearest of any target image"
        self.chosen[found[chosen]] = True

    def judge(self, items: Items, row: int) -> Drop | None:
        """Drop what has no feature, or is not near enough."""
        if self.chosen[row]:
            return None
        value = self.values[row]
        return Drop("no feature") if np.isnan(value) else Drop(self.reason, f"cosine {value:.4f}")
