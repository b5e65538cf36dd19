"""With "auto", an extraction settles on backend and precision before it begins, and keeps to them.

A resumed one takes what was chosen for it before, whatever would be faster now: its features are
those of an uninterrupted one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from reid_common.errors import UserError
from reid_common.files import read_json
from reid_common.shards import Shards
from torch import Tensor

from .backends.backend import AUTO, TORCH
from .extractor import FeatureExtractor
from .feature_files import read_meta
from .image_inputs import to_rgb
from .image_lists import ImageItem


def settle(
    extractor: FeatureExtractor, items: Sequence[ImageItem], out: Path, parts: Shards, anew: bool
) -> None:
    """Let an extractor that is undecided choose: as before, or by the first images of a list.

    Args:
        extractor: one that is decided stays as it is.
        items: the list.
        out: feature file of an earlier call, or none.
        parts: shards of an earlier call, or none.
        anew: nothing of an earlier call counts.

    Raises:
        UserError: what was chosen before is not available here.
    """
    undecided = extractor.undecided
    if undecided is None:
        return
    earlier = parts.folder / parts.settings_file
    known = {}
    if not anew and out.exists():
        known = read_meta(out)[0]
    elif not anew and earlier.exists():
        known = read_json(earlier)
    if known.get("precision", AUTO) != AUTO:
        undecided.take(known.get("backend", TORCH), known["precision"])
        return
    images, ids = _first_images(extractor, items, extractor.batch_size)
    if images:
        camids, viewids = torch.tensor(ids).unbind(1)
        undecided.choose((torch.stack(images), camids, viewids))


def _first_images(
    extractor: FeatureExtractor, items: Sequence[ImageItem], count: int
) -> tuple[list[Tensor], list[tuple[int, int]]]:
    """The first ``count`` images (3, H, W) that can be read, and their (camera, viewpoint)."""
    images, ids = [], []
    for item in items:
        try:
            images.append(extractor.transform(to_rgb(item.path)))
        except (UserError, OSError):  # named where they are extracted
            continue
        ids.append((item.camid, item.viewid))
        if len(images) == count:
            break
    return images, ids
