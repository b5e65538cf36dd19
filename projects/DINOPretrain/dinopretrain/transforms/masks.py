"""Which patches of a view are hidden in masked image modelling.

Source: Zhou et al., "iBOT: Image BERT Pre-Training with Online Tokenizer", ICLR 2022, section 3.3
and the released code; blocks after Bao et al., "BEiT", ICLR 2022, algorithm 1. Draws come from
Python's and numpy's global generators in the order of the released code, so that both give the same
masks from the same seeds; the loader seeds them for each sample.

Letters: H rows and W columns of patches.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import numpy as np
from fastreid.config import CfgNode
from reid_common.errors import UserError

SHAPES = ("block", "rand")
ATTEMPTS = 10
LOG_ASPECT = (math.log(0.3), math.log(1 / 0.3))


class MaskDrawer:
    """Draws masks, each (H, W) bool, True where a patch is hidden.

    Args:
        grid: (H, W).
        ratios: shares of the patches, one of which is drawn for each mask.
        ranges: each share is uniform in its ratio +- this.
        shape: "block" (rectangles, never more patches than the share) or "rand".
    """

    def __init__(
        self,
        grid: tuple[int, int],
        ratios: Sequence[float] = (0.0, 0.3),
        ranges: Sequence[float] = (0.0, 0.2),
        shape: str = "block",
    ) -> None:
        if shape not in SHAPES:
            raise UserError(f"IBOT.MASK_SHAPE is {shape!r}; write one of {', '.join(SHAPES)}")
        self.grid, self.shape = grid, shape
        self.ratios = list(zip(ratios, ranges, strict=True))

    def __call__(self) -> np.ndarray:
        """A mask (H, W)."""
        target = self._ratio() * self.grid[0] * self.grid[1]
        return self._anywhere(target) if self.shape == "rand" else self._blocks(target)

    def _ratio(self) -> float:
        drawn = [random.uniform(r - v, r + v) if v > 0 else r for r, v in self.ratios]
        return drawn[0] if len(drawn) == 1 else random.choice(drawn)

    def _anywhere(self, target: float) -> np.ndarray:
        """So many patches, rounded down, anywhere."""
        mask = np.arange(self.grid[0] * self.grid[1]) >= self.grid[0] * self.grid[1] - int(target)
        np.random.shuffle(mask)
        return mask.reshape(self.grid)

    def _blocks(self, target: float) -> np.ndarray:
        """Rectangles until there are so many patches, or ten in a row that do not fit."""
        mask = np.zeros(self.grid, dtype=bool)
        count = 0
        while count < target:
            block = self._block(mask, target - count)
            if block is None:
                break
            mask[block] = True
            count = int(mask.sum())
        return mask

    def _block(self, mask: np.ndarray, left: float) -> tuple[slice, slice] | None:
        """A rectangle that hides at least one more patch, and at most ``left``; None: no luck."""
        rows, columns = self.grid
        for _ in range(ATTEMPTS):
            area = random.uniform((min(self.grid) // 3) ** 2, left)
            aspect = math.exp(random.uniform(*LOG_ASPECT))
            height, width = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if height < rows and width < columns:
                top, start = random.randint(0, rows - height), random.randint(0, columns - width)
                block = slice(top, top + height), slice(start, start + width)
                if 0 < mask[block].size - int(mask[block].sum()) <= left:
                    return block
        return None


def mask_drawer_of(cfg: CfgNode, grid: tuple[int, int]) -> MaskDrawer:
    """The one of a config, for views with (H, W) patches."""
    options = cfg.IBOT
    return MaskDrawer(grid, options.MASK_RATIO, options.MASK_RATIO_RANGE, options.MASK_SHAPE)
