"""All that is looked at in a results file: metrics, curves, cameras, identities, ranked images.

The model is not needed, and the distances are computed once, in blocks of queries.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from ..evaluation import Evaluation, Options, build_distances, evaluate_distances
from ..ranking.metrics import GalleryRanker
from ..results.result_set import ResultSet
from .cosines import Cosines, mean_cosines
from .groups import CameraPairRanking, CameraPairs, IdentityScores, identity_scores

MEASURES = ("mAP", "Rank-1")  # which are means over queries of values that have intervals here


@dataclass
class Analysis:
    """An evaluation and what it was made of.

    Attributes:
        results: ids and paths; its features are gone, as several analyses are held at a time.
        evaluation: ranking of each query, ROC, ranked images.
        cameras: scores of pairs of cameras.
        identities: scores of identities, worst first.
        cosines: how alike features of one identity are, and of different ones.
    """

    results: ResultSet
    evaluation: Evaluation
    cameras: CameraPairs
    identities: IdentityScores
    cosines: Cosines

    @property
    def query_pids(self) -> np.ndarray:
        """(Q,) identities of the queries."""
        return self.results.pids[: self.results.num_query]

    def values(self, measure: str) -> np.ndarray:
        """Values (Q,), 0..1, whose mean is one of :data:`MEASURES`; NaN without a match."""
        ranking = self.evaluation.ranking
        if measure == "mAP":
            return ranking.average_precision
        return np.where(ranking.counted, ranking.first_hit == 0, np.nan)

    def worst_queries(self) -> np.ndarray:
        """Queries with a match, lowest AP first; equal ones in their order."""
        ranking = self.evaluation.ranking
        counted = np.flatnonzero(ranking.counted)
        return counted[np.argsort(ranking.average_precision[counted], kind="stable")]


def analyse(results: ResultSet, options: Options) -> Analysis:
    """Evaluate the features of a results file, with any settings.

    Raises:
        UserError: no query has a match.
    """
    features, queries = torch.from_numpy(results.features), results.num_query
    ids = [part for ids in (results.pids, results.camids) for part in np.split(ids, [queries])]
    cameras = CameraPairRanking(*ids)
    distances = build_distances(features, queries, options)
    evaluation = evaluate_distances(distances, GalleryRanker(*ids), options, cameras.add)
    evaluation.figures()  # raises if there is nothing to rank
    ranking = evaluation.ranking
    identities = identity_scores(ranking.average_precision, ranking.first_hit, ids[0])
    cosines = mean_cosines(results.features, results.pids, queries)
    light = replace(results, features=np.empty((len(results), 0), np.float32))
    return Analysis(light, evaluation, cameras.result(), identities, cosines)
