"""Look at what a run needs on the disk before it starts: output folder, weights, image files."""

from __future__ import annotations

import logging
from typing import Any

from fastreid.utils import comm
from reid_common.image_files import check_images

from ..data.filter_hook import has_filters
from ..data.opened_sets import forget_opened_sets, opened_set
from ..side_information.labelled_sets import check_side_information
from .test_sets import check_test_sets
from .validation import check_output_dir, check_weights, validate_config

logger = logging.getLogger(__name__)


def preflight(cfg: Any, eval_only: bool = False, world_size: int | None = None) -> None:
    """Check configuration, output folder, weights, test sets and image files before a run starts.

    Only the main process looks at files; ``world_size`` is that of :func:`.validate_config`.
    Data sets that were opened before are opened again: they may have changed since.

    Raises:
        UserError: what is wrong, and what to do about it.
    """
    validate_config(cfg, world_size, eval_only)
    forget_opened_sets()
    if not comm.is_main_process():
        return
    check_output_dir(cfg.OUTPUT_DIR)
    check_weights(cfg.MODEL.WEIGHTS)
    paths = dataset_images(cfg, eval_only)
    check_side_information(cfg, paths)
    check_test_sets(cfg, eval_only)
    check_images(paths)


def dataset_images(cfg: Any, eval_only: bool = False) -> list[str]:
    """List the image files of the data sets in ``cfg``: training (not if eval_only) and test.

    Where DATASETS.FILTERS choose training images, these are not listed: those that are kept are
    looked at when they are known. Test images that are training images, too, are warned of.
    """
    names, combineall = () if eval_only else cfg.DATASETS.NAMES, cfg.DATASETS.COMBINEALL
    train = [p for name in names for p in opened_set(name, combineall=combineall).train.paths]
    test = [path for name in cfg.DATASETS.TESTS for path in opened_set(name).test.paths]
    shared = len(set(train) & set(test))
    if shared:
        logger.warning(
            f"{shared} of the {len(test)} test images are training images, too: the results will "
            "tell how well these are remembered, not how well others are recognised"
        )
    return test if has_filters(cfg) else train + test
