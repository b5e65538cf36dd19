"""Config keys of FastEval, all under TEST.FASTEVAL, and the evaluator that TEST.EVALUATOR names."""

from __future__ import annotations

from fastreid.config import CfgNode


def add_fasteval_config(cfg: CfgNode) -> None:
    """Add the keys of this project and make its evaluator the default, in place.

    FastReID's own keys apply as ever: TEST.METRIC, TEST.RERANK, TEST.AQE, TEST.ROC.
    """
    # "ReidEvaluator" is FastReID's own evaluator
    cfg.TEST.EVALUATOR = "FastEvaluator"

    cfg.TEST.FASTEVAL = CfgNode()
    fasteval = cfg.TEST.FASTEVAL
    # Megabytes that one block of distances may take; a few such blocks are in memory at a time
    fasteval.BLOCK_MB = 128
    # Where distances are computed: "cpu", "cuda:0", ...; "" = MODEL.DEVICE
    fasteval.DEVICE = ""
    # ROC: up to so many megabytes of distances are kept for exact figures; above, a histogram of
    # 4 million bins gives them
    fasteval.ROC_MB = 1024

    # Database-side augmentation: gallery features become means of their neighbours in the gallery.
    # (TEST.AQE, as in FastReID, expands queries and gallery with neighbours in both.)
    fasteval.DBA = CfgNode()
    fasteval.DBA.ENABLED = False
    # Neighbours of the mean, the image itself among them, and the power of their similarity
    fasteval.DBA.K = 10
    fasteval.DBA.ALPHA = 3.0

    # Format of the results file OUTPUT_DIR/results_<data set>.<format>: "npz", "parquet" or "",
    # which writes none
    fasteval.SAVE_RESULTS = ""
    # K: neighbours of each query that the file holds
    fasteval.TOP_K = 50

    # --eval-only keeps what it has extracted until the evaluation is finished, so that the next
    # call goes on where one was interrupted
    fasteval.RESUME = True
    # Where the folder "unfinished_evaluation" of these features is; "" = OUTPUT_DIR
    fasteval.FEATURE_DIR = ""
