"""What features were made of: config, weights, list of images, versions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from reid_common.digests import file_digest, images_digest
from reid_core.run.feature_inputs import relevant_config, state_digest

if TYPE_CHECKING:
    from .extractor import FeatureExtractor
    from .image_lists import ImageItem

# What must agree for features to be comparable: key in the meta data -> name in messages.
SAME_SPACE = {"config": "config", "weights_sha256": "weights file"}
SAME_RUN = {
    **SAME_SPACE,
    "images_sha256": "list of images (or an image file has changed)",
    "precision": "precision",
    "shard_size": "shard size",
}


def describe(extractor: FeatureExtractor, items: Sequence[ImageItem]) -> dict[str, Any]:
    """Meta data of the features of ``items``, as JSON can hold it.

    Returns:
        "config" (the keys that a feature depends on), "weights" (path), "weights_sha256" (of that
        file), "images_sha256" (of paths, ids and the files' sizes and times), "precision",
        "feature_dim", "versions".
    """
    import timm  # late: seconds

    path = extractor.cfg.MODEL.WEIGHTS
    return {
        "config": relevant_config(extractor.cfg),
        "weights": path,
        "weights_sha256": file_digest(path) if path else state_digest(extractor.model),
        "images_sha256": images_digest(items),
        "precision": extractor.precision,
        "feature_dim": extractor.feature_dim,
        "versions": {"torch": torch.__version__, "timm": timm.__version__},
    }
