#!/usr/bin/env python3
"""Speed and memory of k-reciprocal re-ranking: FastEval against FastReID.

python tools/benchmarks/rerank.py
python tools/benchmarks/rerank.py --msmt17
python tools/benchmarks/rerank.py --device cuda --sizes Market-1501

Both begin at the features and end with the blended distances (TEST.RERANK's defaults) ranked, with
neighbours found on the CPU. FastReID's, which holds dense matrices of all images by all images
and takes minutes at Market-1501's size, is run once. With
--device it is this on the CPU against this with distances and neighbours on that device, whose
memory is not in the table.
"""

from __future__ import annotations

import sys

import numpy as np
import torch
from fasteval import Options, Rerank, evaluate_features
from fasteval.ranking.metrics import GalleryRanker, RankingResult
from fastreid.utils.compute_dist import build_dist
from retrieval import TOLERANCE, Contender, TestSet, compare, header, parser

HOW = Rerank()
# Of figures on two devices: a few images that are equally near but for the last bit may swap.
DEVICE_TOLERANCE = 1e-3


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


def this(test_set: TestSet, device: str = "cpu") -> dict[str, float]:
    """All of it in blocks."""
    if torch.device(device).type == "cuda" and not torch.cuda.is_available():
        sys.exit(f"error: --device {device}: torch finds no GPU; {torch.__version__} is installed")
    found = evaluate_features(
        test_set.features,
        test_set.pids,
        test_set.camids,
        test_set.num_query,
        Options(rerank=HOW, device=device),
    )
    return figures(found.ranking)


def main() -> None:
    """Parse the command line, print the table."""
    options = parser(__doc__)
    options.add_argument("--device", help="compare this device with the CPU, as in cuda")
    args = options.parse_args()
    device = args.device or "cpu"
    ours = Contender("this", lambda test_set, _: this(test_set))
    contenders = [Contender("FastReID", lambda test_set, _: fastreids(test_set), rounds=1), ours]
    if args.device:
        ours.name = "this on the CPU"
        contenders = [
            ours,
            Contender(f"this on {device}", lambda test_set, _: this(test_set, device)),
        ]
    elif args.msmt17:
        contenders = [ours]
    header(args)
    for size in ["MSMT17"] if args.msmt17 else args.sizes:
        compare(contenders, size, args, DEVICE_TOLERANCE if args.device else TOLERANCE)


if __name__ == "__main__":
    main()
