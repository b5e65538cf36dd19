"""Whether the test sets of a config can be evaluated, looked at before the first step."""

from __future__ import annotations

import logging
from typing import Any

from reid_common.errors import UserError

from ..data.matches import unmatched_queries
from ..data.names import dataset_class
from ..data.opened_sets import OpenedSet
from ..side_information.labelled_sets import open_labelled
from ..side_information.rows import raw_cameras

logger = logging.getLogger(__name__)

# Evaluators that leave out matches under the query's own camera.
BY_CAMERA = ("ReidEvaluator", "FastEvaluator")


def check_test_sets(cfg: Any, eval_only: bool = False) -> None:
    """Check that each of DATASETS.TESTS has queries and gallery, and a query a match that counts.

    Nothing is checked for a training that evaluates nothing (TEST.EVAL_PERIOD 0).

    Raises:
        UserError: a test set that cannot be evaluated, and what to do.
    """
    if not eval_only and cfg.TEST.EVAL_PERIOD <= 0:
        return
    remedy = (
        "Name another test set in DATASETS.TESTS"
        if eval_only
        else "Name another test set in DATASETS.TESTS, or train without an evaluation: "
        "TEST.EVAL_PERIOD 0"
    )
    for name in dict.fromkeys(cfg.DATASETS.TESTS):
        opened = open_labelled(cfg, name)
        _check_parts(opened, remedy)
        # A protocol of several splits chooses queries and gallery itself, for each.
        if getattr(dataset_class(name), "num_repeats", 1) == 1 and cfg.TEST.EVALUATOR in BY_CAMERA:
            _check_matches(opened, remedy)


def _check_parts(opened: OpenedSet, remedy: str) -> None:
    queries, gallery = len(opened.query), len(opened.gallery)
    if not queries or not gallery:
        chosen = gallery and not queries  # FolderReID and CSVReID choose them
        why = " (only an identity under two or more cameras can have one)" if chosen else ""
        raise UserError(
            f"data set {opened.name} has {queries} query and {gallery} gallery images{why}; an "
            f"evaluation needs both. {remedy}"
        )


def _check_matches(opened: OpenedSet, remedy: str) -> None:
    cameras = raw_cameras(opened.dataset_name, opened.test.cameras)
    entries = list(zip(opened.test.identities, cameras, strict=True))
    queries, gallery = entries[: len(opened.query)], entries[len(opened.query) :]
    unmatched = unmatched_queries(queries, gallery)
    if len(unmatched) == len(queries):
        known = {camera for camera in cameras if camera >= 0}
        why = (
            "all its test images are of one camera"
            if len(known) == 1 and min(cameras) >= 0
            else "an image of another identity, or under the query's own camera, is no match"
        )
        raise UserError(
            f"data set {opened.name}: none of its {len(queries)} queries has a gallery image of "
            f"its identity from another camera, so that there is nothing to evaluate ({why}). "
            f"Check the identities and cameras of its images, or leave the cameras out. {remedy}"
        )
    if unmatched:
        logger.warning(
            "%s: %d of the %d queries have no match under another camera, such as %s; the "
            "evaluation leaves them out",
            *(opened.name, len(unmatched), len(queries), opened.query.paths[unmatched[0]]),
        )
