"""Multi-crop: the views of an image that DINO compares, two large and several small ones.

Source: Caron et al., ICCV 2021, and the released code; Luo et al., arXiv 2111.12084, for the sizes.
The distribution of views is that of the released pipeline of PIL and torchvision (tests hold each
operation and the whole against it), the way there is another one: OpenCV on arrays, the colours
changed in the crop or in the finished view, whichever has fewer pixels, uint8 all along. The model
normalises.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from fastreid.config import CfgNode, configurable
from reid_common.errors import UserError
from transreid.config_rules import vit_sizes
from transreid.modeling.patch_embed import patch_grid

from .blur import gaussian_blur
from .colour import JITTER, solarize, to_grayscale
from .geometry import resize
from .masks import MaskDrawer, mask_drawer_of
from .recipes import views_of
from .view_spec import Drawer, ViewDraw, ViewSpec


class MultiCrop:
    """Image -> its views, as a transform of the data set.

    In a process with others beside it (a worker of a loader) call :func:`use_one_thread` first.

    Args:
        global_views: one spec for each global view, all of one size.
        local_views: one for each local view, all of one size; may be empty.
        masks: draws which patches of a global view are hidden; None for no masks.
    """

    @configurable
    def __init__(
        self,
        *,
        global_views: Sequence[ViewSpec],
        local_views: Sequence[ViewSpec] = (),
        masks: MaskDrawer | None = None,
    ) -> None:
        if not global_views:
            raise UserError("there are no global views; DINO's teacher needs at least one")
        for kind, specs in (("global", global_views), ("local", local_views)):
            sizes = sorted({spec.size for spec in specs})
            if len(sizes) > 1:
                raise UserError(f"{kind} views have the sizes {sizes}; views of a kind share one")
        self.num_global, self.masks = len(global_views), masks
        self.draw = Drawer([*global_views, *local_views])
        self.global_size = global_views[0].size
        self.local_size = local_views[0].size if local_views else (0, 0)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Constructor keywords from INPUT.SIZE_TRAIN, DINO, MOCO and IBOT."""
        global_views, local_views = views_of(cfg)
        masks = None
        if cfg.MODEL.META_ARCHITECTURE == "IBOT":
            backbone = cfg.MODEL.BACKBONE
            patch = vit_sizes(backbone.TIMM_NAME).patch
            masks = mask_drawer_of(
                cfg, patch_grid(cfg.INPUT.SIZE_TRAIN, patch, backbone.STRIDE_SIZE)
            )
        return {"global_views": global_views, "local_views": local_views, "masks": masks}

    def __call__(
        self, image: np.ndarray, rng: np.random.Generator | None = None
    ) -> dict[str, np.ndarray]:
        """Draw the views of an image.

        Args:
            image: (H, W, 3), uint8, RGB; it stays as it is.
            rng: as in :class:`Drawer`.

        Returns:
            "global_views" (G, H, W, 3) and "local_views" (L, h, w, 3), uint8, RGB; L may be 0.
            With masks also "masks" (G, rows, columns) of patches, bool, True where hidden.
        """
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise ValueError(f"an image is (H, W, 3) uint8, this is {image.shape} {image.dtype}")
        image = np.ascontiguousarray(image)
        draws = self.draw((image.shape[0], image.shape[1]), rng)
        global_views = np.empty((self.num_global, *self.global_size, 3), np.uint8)
        local_views = np.empty((len(draws) - self.num_global, *self.local_size, 3), np.uint8)
        for draw, out in zip(draws, [*global_views, *local_views], strict=True):
            render(image, draw, out)
        views = {"global_views": global_views, "local_views": local_views}
        if self.masks is not None:
            views["masks"] = np.stack([self.masks() for _ in range(self.num_global)])
        return views


def render(image: np.ndarray, draw: ViewDraw, out: np.ndarray) -> None:
    """Write one view of an image (H, W, 3), uint8, contiguous, to ``out``, (h, w, 3) likewise."""
    top, left, height, width = draw.crop
    view = image[top : top + height, left : left + width]
    if draw.flip:
        view = cv2.flip(view, 1)
    size = out.shape[0], out.shape[1]
    # Colours commute with the resize but for rounding and clipping: the fewer pixels, the better.
    recolour_first = height * width < size[0] * size[1]
    if recolour_first:
        view = recolour(view, draw)
    view = resize(view, size, draw.interpolation)
    if not recolour_first:
        view = recolour(view, draw)
    if draw.sigma is None:
        out[:] = view
    else:
        gaussian_blur(view, draw.sigma, out)
    if draw.solarize is not None:
        out[:] = solarize(out, draw.solarize)
    if draw.erase is not None:
        top, left, height, width = draw.erase
        out[top : top + height, left : left + width] = draw.erase_colour


def recolour(view: np.ndarray, draw: ViewDraw) -> np.ndarray:
    """Colour jitter and grayscale, as drawn."""
    for number, factor in draw.jitter:
        view = JITTER[number](view, factor)
    return to_grayscale(view) if draw.grayscale else view


def use_one_thread(worker_id: int = 0) -> None:
    """Keep OpenCV to the calling thread; a ``worker_init_fn`` of torch's DataLoader.

    torch sees to its own threads in workers; those of OpenCV would compete with other workers.
    """
    cv2.setNumThreads(0)
