"""Speed and memory of k-reciprocal re-ranking: FastEval against FastReID.

python tools/benchmarks/rerank.py
python tools/benchmarks/rerank.py --msmt17
python tools/benchmarks/rerank.py --device cuda --sizes Market-1501

Both begin at the features and end with the blended distances (TEST.RERANK's defaults) ranked, with
neighbours found on the CPU. FastReID's, which holds dense matrices of all images by all images
and takes minutes at Market-1501's size, is run once. With --device it is this on the CPU against
this with distances and neighbours on that device, whose memory is not in the table.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from fasteval import Rerank
from fasteval.ranking.metrics import GalleryRanker
from fastreid.utils.compute_dist import build_dist
from reid_common.errors import UserError

from .harness import WALL, Row, Sample, benchmark
from .retrieval import OPTIONS, Contender, TestSet, compare, metrics, ours

HOW = Rerank()
# Of metrics on two devices: a few images that are equally near but for the last bit may swap.
DEVICE_TOLERANCE = 1e-3


def fastreids(test_set: TestSet, prepared: Any) -> Sample:
    """FastReID's distances; ranked by this repository, so that the difference is re-ranking's."""
    query, gallery = test_set.split()
    dist: np.ndarray = build_dist(query, gallery, "cosine") * HOW.lambda_value
    jaccard = build_dist(query, gallery, "jaccard", k1=HOW.k1, k2=HOW.k2)
    dist += jaccard * (1 - HOW.lambda_value)
    return metrics(GalleryRanker(*test_set.ids()).rank(dist, 0))


def rows(args: argparse.Namespace) -> Iterator[Row]:
    """FastReID and this, or this on two devices."""
    this = Contender(functools.partial(ours, rerank=HOW))
    if not args.device:
        return compare(
            {"FastReID": Contender(fastreids, dense=True), "this": this}, args, once="FastReID"
        )
    if torch.device(args.device).type == "cuda" and not torch.cuda.device_count():
        raise UserError(
            f"--device {args.device}: torch finds no GPU; {torch.__version__} is installed"
        )
    other = Contender(functools.partial(ours, rerank=HOW, device=args.device))
    contenders = {"this on the CPU": this, f"this on {args.device}": other}
    return compare(contenders, args, key=WALL, tolerance=DEVICE_TOLERANCE)


main, parser = benchmark(__doc__, rows, "faiss-cpu", **OPTIONS, device="")
