"""Metrics for a model card: of results files, which must be of the model that is published."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from fasteval.report.evaluating import Settings, evaluated
from fasteval.report.tables import Evaluated
from fasteval.results.meta import describe
from fasteval.results.result_set import ResultSet, read_results
from reid_common.errors import UserError
from reid_core.run.reports import evenly_spread

from ..inference.extractor import FeatureExtractor
from ..inference.image_inputs import to_rgb
from .places import local_name

CHECKED = 4  # images of a results file whose features are extracted again
LEAST_COSINE = 0.999  # of both: an evaluation may have run in bfloat16
MEASURES = ("mAP", "Rank-1", "Rank-5", "mINP")


@dataclass(frozen=True)
class Metrics:
    """An evaluation of the published model.

    Attributes:
        dataset: name of the test set, without the folder that it lies in.
        found: metrics, and intervals over identities.
        checked: images whose feature was extracted again and is the file's.
    """

    dataset: str
    found: Evaluated
    checked: int

    def cells(self) -> list[str]:
        """Row of a table: test set, queries, gallery, metrics in percent, how they were ranked."""
        figures, intervals = self.found.analysis.evaluation.figures(), self.found.intervals
        results = self.found.analysis.results
        cells = [self.dataset, str(results.num_query), str(len(results) - results.num_query)]
        for measure in MEASURES:
            text = f"{figures[measure]:.1f}"
            if measure in intervals:
                interval = intervals[measure]["identity"]
                text += f" ({interval.low:.1f} to {interval.high:.1f})"
            cells.append(text)
        return [*cells, describe(self.found.cfg)]


def metrics_of(file: str, extractor: FeatureExtractor) -> Metrics:
    """Metrics of a results file of ``extractor``'s model.

    Raises:
        UserError: a file that cannot be evaluated, or whose features are another model's.
    """
    results = read_results(file)
    dataset = local_name(str(results.meta.get("dataset") or os.path.basename(file)))
    checked = _check_features(results, file, extractor)
    return Metrics(dataset, evaluated(dataset, file, Settings()), checked)


def _check_features(results: ResultSet, file: str, extractor: FeatureExtractor) -> int:
    """Extract some features again, of images that are on this machine; returns how many.

    Raises:
        UserError: the file holds others.
    """
    remedy = "name results of the weights that are published: transreid train --eval-only"
    if results.features.shape[1] != extractor.feature_dim:
        raise UserError(
            f"{file} has features of {results.features.shape[1]} numbers, the model gives "
            f"{extractor.feature_dim}: they are of another model; {remedy}"
        )
    rows = [row for row, path in enumerate(results.paths) if os.path.isfile(path)]
    rows = [rows[index] for index in evenly_spread(len(rows), CHECKED)] if rows else []
    if not rows:
        return 0
    images = torch.stack([extractor.transform(to_rgb(results.paths[row])) for row in rows])
    views = results.viewids if results.viewids is not None else np.full(len(results), -1)
    ids = (torch.from_numpy(column[rows]) for column in (results.camids, views))
    again = extractor.extract(images, *ids)
    stored = F.normalize(torch.from_numpy(results.features[rows]))
    cosine = float((again * stored).sum(1).min())
    if not cosine >= LEAST_COSINE:
        raise UserError(
            f"{file} holds other features than the model gives (cosine {cosine:.3f}): they are of "
            f"other weights, or another config; {remedy}"
        )
    return len(rows)
