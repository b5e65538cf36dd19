"""The images that are scored, by the names of data sets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from dinopretrain.data.images import ChainedImages, UnlabelledImages
from dinopretrain.data.loader import open_images
from fastreid.config import CfgNode
from reid_common.errors import UserError

from .keys import key_list


def open_listing(cfg: CfgNode, names: Sequence[str]) -> UnlabelledImages:
    """Open all (training) images of the data sets ``names``, without the filters of the config.

    Raises:
        UserError: no name, a data set that cannot be opened, or two sets that name images alike, so
            that scores could not be told apart.
    """
    if not names:
        raise UserError("no data set is named; give --dataset, --images, or set DATASETS.NAMES")
    sources = [open_images(cfg, name) for name in names]
    if len(sources) == 1:
        return sources[0]
    images = ChainedImages(sources)
    keys = key_list(images)
    hashes = np.fromiter(map(hash, keys.iter_raw()), np.int64, len(keys))
    if len(np.unique(hashes)) < len(keys):
        raise UserError(
            f"{', '.join(names)}: two images have one name; score each data set into a folder of "
            "its own"
        )
    return images
