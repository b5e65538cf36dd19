"""What the views of each method look like.

Source: Caron et al., ICCV 2021 (DINO, also iBOT's); Chen et al., arXiv 2003.04297 (MoCo v2); Chen
et al., ICCV 2021 (MoCo v3), and Xie et al., arXiv 2105.04553 (MoBY), which has the same; Fu et al.,
"Unsupervised Pre-training for Person Re-identification", CVPR 2021 (LUPerson's MoCo v2).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from fastreid.config import CfgNode
from reid_common.errors import UserError

from ..methods import is_contrastive
from .view_spec import ViewSpec

Pair = tuple[float, float]
Size = tuple[int, int]


def dino_views(
    global_size: Size = (256, 128),
    local_size: Size = (128, 64),
    num_local: int = 8,
    global_scale: Pair = (0.4, 1.0),
    local_scale: Pair = (0.05, 0.4),
    ratio: Pair = (3 / 4, 4 / 3),
    jitter: Sequence[float] = (0.4, 0.4, 0.2, 0.1),
    jitter_prob: float = 0.8,
    grayscale_prob: float = 0.2,
) -> tuple[list[ViewSpec], list[ViewSpec]]:
    """Global and local views of the released recipe.

    Args:
        global_size: (H, W) in pixels; so is local_size.
        num_local: local views, 0 or more.
        global_scale: least and greatest part of the image's area; so is local_scale.
        ratio: least and greatest width / height of that part, of all views.
        jitter: brightness, contrast, saturation and hue, as in :class:`ViewSpec`.
        jitter_prob: share of views with colour jitter, 0..1.
        grayscale_prob: share of views without colours, 0..1.
    """
    if num_local < 0:
        raise UserError(f"DINO.LOCAL_VIEWS is {num_local}; set 0 or more")
    brightness, contrast, saturation, hue = jitter
    base = ViewSpec(
        global_size,
        global_scale,
        ratio,
        jitter_prob=jitter_prob,
        brightness=brightness,
        contrast=contrast,
        saturation=saturation,
        hue=hue,
        grayscale_prob=grayscale_prob,
    )
    local = replace(base, size=local_size, scale=local_scale, blur_prob=0.5)
    return unlike_pair(base), [local] * num_local


def moco_v2_views(base: ViewSpec) -> list[ViewSpec]:
    """Two views that are alike."""
    return [replace(base, saturation=0.4, blur_prob=0.5)] * 2


def unlike_pair(base: ViewSpec) -> list[ViewSpec]:
    """DINO's global views and MoCo v3's, but for the resize, which ``base`` has.

    The first is always blurred, the second seldom blurred and at times solarized.
    """
    return [replace(base, blur_prob=1.0), replace(base, blur_prob=0.1, solarize_prob=0.2)]


def luperson_views(base: ViewSpec) -> list[ViewSpec]:
    """Two views that are alike, their colours kept, parts of them erased."""
    return [replace(base, jitter_prob=0.0, blur_prob=0.5, erase_prob=0.5)] * 2


# MOCO.VIEWS
CONTRASTIVE_VIEWS: dict[str, Callable[[ViewSpec], list[ViewSpec]]] = {
    "moco_v2": moco_v2_views,
    "moco_v3": unlike_pair,
    "luperson": luperson_views,
}


def views_of(cfg: CfgNode) -> tuple[list[ViewSpec], list[ViewSpec]]:
    """Global and local views of a config's method."""
    options = cfg.DINO
    ranges = map(tuple, (options.GLOBAL_SCALE, options.LOCAL_SCALE, options.CROP_RATIO))
    global_size = tuple(cfg.INPUT.SIZE_TRAIN)
    global_scale, local_scale, ratio = ranges
    if is_contrastive(cfg):
        colour = tuple(round(value) for value in cfg.MODEL.PIXEL_MEAN)
        base = ViewSpec(
            global_size, global_scale, ratio, interpolation="bilinear", erase_colour=colour
        )
        return CONTRASTIVE_VIEWS[cfg.MOCO.VIEWS](base), []
    sizes = global_size, tuple(options.LOCAL_SIZE)
    colours = options.COLOR_JITTER, options.COLOR_JITTER_PROB, options.GRAYSCALE_PROB
    return dino_views(*sizes, options.LOCAL_VIEWS, global_scale, local_scale, ratio, *colours)
