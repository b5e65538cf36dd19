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

from collections.abc import Sequence

import numpy as np
import torch
from fasteval import Options, Rerank, evaluate_features
from fasteval.ranking.metrics import GalleryRanker
from fastreid.utils.compute_dist import build_dist
from reid_common.errors import UserError
from reid_core.run.command_line import show_user_errors

from .harness import CPU, WALL, Sample, header, print_table
from .retrieval import TOLERANCE, Contender, TestSet, compare, metrics, parser

HOW = Rerank()
# Of metrics on two devices: a few images that are equally near but for the last bit may swap.
DEVICE_TOLERANCE = 1e-3


def fastreids(test_set: TestSet) -> Sample:
    """FastReID's distances; ranked by this repository, so that the difference is re-ranking's."""
    query, gallery = test_set.split()
    dist: np.ndarray = build_dist(query, gallery, "cosine") * HOW.lambda_value
    jaccard = build_dist(query, gallery, "jaccard", k1=HOW.k1, k2=HOW.k2)
    dist += jaccard * (1 - HOW.lambda_value)
    return metrics(GalleryRanker(*test_set.ids()).rank(dist, 0))


def this(test_set: TestSet, device: str = "cpu") -> Sample:
    """All of it in blocks."""
    options = Options(rerank=HOW, device=device)
    ids = test_set.pids, test_set.camids
    found = evaluate_features(test_set.features, *ids, test_set.num_query, options)
    return metrics(found.ranking)


@show_user_errors
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    options = parser(__doc__)
    options.add_argument("--device", help="compare this device with the CPU, as in cuda")
    args = options.parse_args(argv)
    ours = Contender(lambda test_set, _: this(test_set))
    contenders = {"this": ours}
    if args.device:
        if torch.device(args.device).type == "cuda" and not torch.cuda.device_count():
            raise UserError(
                f"--device {args.device}: torch finds no GPU; {torch.__version__} is installed"
            )
        other = Contender(lambda test_set, _: this(test_set, args.device))
        contenders = {"this on the CPU": ours, f"this on {args.device}": other}
    elif not args.msmt17:
        contenders = {"FastReID": Contender(lambda test_set, _: fastreids(test_set)), "this": ours}
    header(args, "faiss-cpu")
    key, tolerance = (WALL, DEVICE_TOLERANCE) if args.device else (CPU, TOLERANCE)
    print_table(
        row
        for size in (["MSMT17"] if args.msmt17 else args.sizes)
        for row in compare(contenders, size, args, key=key, once=["FastReID"], tolerance=tolerance)
    )
    return 0
