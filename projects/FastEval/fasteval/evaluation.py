"""The evaluation of features, from expansion to figures, in blocks of queries; no config needed.

Letters: N images = Q queries, then G of the gallery; D dimensions, b queries of a block, K
neighbours of a query.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from reid_common.errors import UserError
from torch import Tensor

from .distances.blocks import Distances, FeatureDistances, blocks
from .distances.expansion import expand
from .distances.jaccard import Blend, JaccardDistances
from .options import Options
from .ranking.metrics import (
    GalleryRanker,
    RankingResult,
    concatenate,
    nearest_kept,
    rank_block,
)
from .ranking.roc import RocCollector, RocCurve

RANKS = (1, 5, 10)
FALSE_POSITIVE_RATES = (1e-4, 1e-3, 1e-2)


@dataclass
class Evaluation:
    """What an evaluation found.

    Attributes:
        ranking: per query, see there.
        roc: the ROC, or None if it was not asked for.
        topk_indices: (Q, K) int64 into the gallery, the nearest first, -1 = none. Images of the
            query's identity and camera are left out, as in the figures.
        topk_distances: (Q, K) float32, inf where the index is -1.
    """

    ranking: RankingResult
    roc: RocCurve | None
    topk_indices: np.ndarray
    topk_distances: np.ndarray

    def figures(self) -> dict[str, float]:
        """Return the results under FastReID's names.

        Rank-1, Rank-5, Rank-10, mAP, mINP and metric (the mean of mAP and Rank-1) in percent;
        with a ROC also TPR@FPR=1e-04, 1e-03 and 1e-02, 0..1.
        """
        cmc = self.ranking.cmc(max(RANKS))
        results = {f"Rank-{rank}": float(cmc[rank - 1]) * 100 for rank in RANKS}
        results["mAP"] = self.ranking.mean_ap * 100
        results["mINP"] = self.ranking.mean_inp * 100
        results["metric"] = (results["mAP"] + results["Rank-1"]) / 2
        if self.roc is not None:
            for rate in FALSE_POSITIVE_RATES:
                results[f"TPR@FPR={rate:.0e}"] = self.roc.tpr_at(rate)
        return results


def evaluate_features(
    features: np.ndarray | Tensor,
    pids: np.ndarray,
    camids: np.ndarray,
    num_query: int,
    options: Options | None = None,
) -> Evaluation:
    """Rank the gallery for each query.

    Args:
        features: (N, D), queries first, as are the others.
        pids: (N,) identities.
        camids: (N,) cameras.
        num_query: Q.
        options: what is evaluated; None = cosine distances alone.

    Raises:
        UserError: there are no queries, or no gallery, or not one of each for every image.
    """
    options = options or Options()
    features = torch.as_tensor(features)
    if not 0 < num_query < len(features) or not len(features) == len(pids) == len(camids):
        raise UserError(
            f"{num_query} queries of {len(features)} features, {len(pids)} identities and "
            f"{len(camids)} cameras: an evaluation needs queries, a gallery, and one of each for "
            "every image"
        )
    pids, camids = np.asarray(pids), np.asarray(camids)
    ranker = GalleryRanker(
        pids[:num_query], pids[num_query:], camids[:num_query], camids[num_query:]
    )
    distances = build_distances(features, num_query, options)
    return evaluate_distances(distances, ranker, options)


def evaluate_distances(
    distances: Distances,
    ranker: GalleryRanker,
    options: Options,
    watch: Callable[[np.ndarray, int], None] | None = None,
) -> Evaluation:
    """Rank with any distances; of the options those of ROC, top K and memory count.

    ``watch`` gets each block of distances (b, G) without NaN, and the index of its first query.
    """
    shape = (distances.num_queries, distances.num_gallery)
    roc = RocCollector(shape[0] * shape[1], distances.largest, options.roc_mb)
    indices = np.empty((shape[0], options.top_k), np.int64)
    nearest = np.empty((shape[0], options.top_k), np.float32)
    results = []
    for start, dist in blocks(distances, options.block_mb):
        stop = start + len(dist)
        dist, pairs = ranker.without_nan(dist), ranker.pairs(start, stop)
        results.append(rank_block(dist, pairs))
        if watch is not None:
            watch(dist, start)
        if options.roc:
            roc.add(dist, pairs)
        if options.top_k:
            indices[start:stop], nearest[start:stop] = nearest_kept(dist, pairs, options.top_k)
    ranking = concatenate(results)
    if not options.roc:
        return Evaluation(ranking, None, indices, nearest)
    ranking.require_match()
    return Evaluation(ranking, roc.curve(), indices, nearest)


def build_distances(features: Tensor, num_query: int, options: Options) -> Distances:
    """Return the distances of features (N, D), Q queries first, after expansion and re-ranking."""
    features = features.to(options.device, torch.float32)
    if options.dba is not None:
        gallery = expand(features[num_query:], options.dba, options.block_mb)
        features = torch.cat([features[:num_query], gallery])
    if options.aqe is not None:
        features = expand(features, options.aqe, options.block_mb)
    if options.metric == "cosine":
        features = F.normalize(features, dim=1)
    plain = FeatureDistances(features[:num_query], features[num_query:], options.metric)
    if options.rerank is None:
        return plain
    how = options.rerank
    known = plain.keep_products()
    jaccard = JaccardDistances(features, num_query, how.k1, how.k2, options.block_mb, known)
    return Blend(plain, jaccard, how.lambda_value)


def distance_blocks(
    query: Tensor, gallery: Tensor, options: Options
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (index of the first query, distances (b, G) float32) after all that is asked for.

    ``query`` (Q, D) and ``gallery`` (G, D) are features; see :func:`build_distances`.
    """
    distances = build_distances(torch.cat([query, gallery]), len(query), options)
    return blocks(distances, options.block_mb)
