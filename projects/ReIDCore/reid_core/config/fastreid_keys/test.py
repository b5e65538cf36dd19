"""Keys of FastReID: TEST."""

from ..declaration import existing
from ..values import FLAG, PROBABILITY, TEXT, number, one_of, whole

KEYS = (
    existing("TEST.EVAL_PERIOD", whole(0), "Epochs between two evaluations; 0 for none", True),
    existing("TEST.IMS_PER_BATCH", whole(1), "Images of a batch, in all processes together"),
    existing("TEST.METRIC", one_of("cosine", "euclidean"), "Distance of two features"),
    existing("TEST.ROC.ENABLED", FLAG, "TPR at several FPR as well"),
    existing("TEST.FLIP.ENABLED", FLAG, "Add the feature of the flipped image"),
    existing("TEST.AQE.ENABLED", FLAG, "Average query expansion"),
    existing("TEST.AQE.ALPHA", number(0), "Power of the similarity that weighs a neighbour"),
    existing("TEST.AQE.QE_TIME", whole(1), "How often it is applied"),
    existing("TEST.AQE.QE_K", whole(1), "Neighbours of the mean"),
    existing("TEST.RERANK.ENABLED", FLAG, "k-reciprocal re-ranking"),
    existing("TEST.RERANK.K1", whole(1), "Neighbours whose reciprocity counts"),
    existing("TEST.RERANK.K2", whole(1), "Neighbours of the local query expansion"),
    existing("TEST.RERANK.LAMBDA", PROBABILITY, "Weight of the original distance"),
    existing("TEST.PRECISE_BN.ENABLED", FLAG, "Measure statistics of BatchNorm again", True),
    existing("TEST.PRECISE_BN.DATASET", TEXT, "Data set for that", True),
    existing("TEST.PRECISE_BN.NUM_ITER", whole(1), "Batches for that", True),
)
