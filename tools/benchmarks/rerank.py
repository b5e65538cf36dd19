#!/usr/bin/env python3
"""Speed and memory of k-reciprocal re-ranking: FastEval against FastReID.

python tools/benchmarks/rerank.py
python tools/benchmarks/rerank.py --msmt17

Both begin at the features and end with the blended distances (TEST.RERANK's defaults) ranked, with
neighbours found on the CPU. FastReID's, which holds dense matrices of all images by all images
and takes minutes at Market-1501's size, is run once.
"""

from __future__ import annotations

import numpy as np
from fasteval import Options, Rerank, evaluate_features
from fasteval.ranking import GalleryRanker, RankingResult
from fastreid.utils.compute_dist import build_dist
from retrieval import Contender, TestSet, compare, header, parser

HOW = Rerank()


def figures(ranking: RankingResult) -> dict[str, float]:
    """What is compared."""
    return {"Rank-1": ranking.cmc()[0], "mAP": ranking.mean_ap, "mINP": ranking.mean_inp}


def fastreids(test_set: TestSet) -> dict[str, float]:
    """FastReID's distances; ranked by this repository, so that the difference is re-ranking's."""
    query, gallery = test_set.split()
    dist: np.ndarray = build_dist(query, gallery, "cosine") * HOW.lambda_value
    jaccard = build_dist(query, gallery, "jaccard", k1=HOW.k1, k2=HOW.k2)
    dist += jaccard * (1 - HOW.lambda_value)
    return figures(GalleryRanker(*test_set.ids()).rank(dist, 0))


def this(test_set: TestSet) -> dict[str, float]:
    """All of it in blocks."""
    found = evaluate_features(
        test_set.features,
        test_set.pids,
        test_set.camids,
        test_set.num_query,
        Options(rerank=HOW),
    )
    return figures(found.ranking)


def main() -> None:
    """Parse the command line, print the table."""
    args = parser(__doc__).parse_args()
    contenders = [
        Contender("FastReID", lambda test_set, _: fastreids(test_set), rounds=1),
        Contender("this", lambda test_set, _: this(test_set)),
    ]
    header(args)
    for size in ["MSMT17"] if args.msmt17 else args.sizes:
        compare(contenders[1:] if args.msmt17 else contenders, size, args)


if __name__ == "__main__":
    main()
