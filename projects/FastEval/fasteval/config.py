"""Config keys of FastEval, all under TEST.FASTEVAL, and the evaluator that TEST.EVALUATOR names."""

from __future__ import annotations

from fastreid.config import CfgNode
from reid_core.config.declaration import Key, add_keys
from reid_core.config.values import DEVICE, FLAG, TEXT, Allowed, number, one_of, whole

DEVICE_OR_MODELS = Allowed(
    f"{DEVICE.text}; '' is MODEL.DEVICE", lambda value: value == "" or DEVICE.holds(value)
)

KEYS = (
    Key(
        "TEST.FASTEVAL.BLOCK_MB",
        128,
        number(above=0),
        "Megabytes of one block of distances; a few such blocks are in memory at a time",
    ),
    Key("TEST.FASTEVAL.DEVICE", "", DEVICE_OR_MODELS, "Where distances are computed"),
    Key(
        "TEST.FASTEVAL.ROC_MB",
        1024,
        number(0),
        "ROC: megabytes of distances up to which it is exact; above, a histogram of 4 million "
        "bins gives it",
    ),
    Key(
        "TEST.FASTEVAL.DBA.ENABLED",
        False,
        FLAG,
        "Database-side augmentation: gallery features become means of their neighbours in the "
        "gallery (TEST.AQE expands queries and gallery with neighbours in both)",
    ),
    Key("TEST.FASTEVAL.DBA.K", 10, whole(1), "Neighbours of the mean, the image itself included"),
    Key("TEST.FASTEVAL.DBA.ALPHA", 3.0, number(0), "Power of their similarity"),
    Key(
        "TEST.FASTEVAL.SAVE_RESULTS",
        "",
        one_of("", "npz", "parquet"),
        "Format of the results file OUTPUT_DIR/results_<data set>.<format>; '' writes none",
    ),
    Key("TEST.FASTEVAL.TOP_K", 50, whole(0), "K: neighbours of each query in that file"),
    Key(
        "TEST.FASTEVAL.RESUME",
        True,
        FLAG,
        "--eval-only keeps extracted features until the evaluation is finished, so that the next "
        "call resumes an interrupted one",
    ),
    Key(
        "TEST.FASTEVAL.FEATURE_DIR",
        "",
        TEXT,
        "Where the folder unfinished_evaluation of these features is; '' is OUTPUT_DIR",
    ),
)


def add_fasteval_config(cfg: CfgNode) -> None:
    """Add the keys of this project and make its evaluator the default, in place.

    FastReID's own keys apply as ever: TEST.METRIC, TEST.RERANK, TEST.AQE, TEST.ROC.
    """
    # "ReidEvaluator" is FastReID's own evaluator
    cfg.TEST.EVALUATOR = "FastEvaluator"
    add_keys(cfg, KEYS)
