"""What is evaluated, without a config and from one."""

from __future__ import annotations

from dataclasses import dataclass

from fastreid.config import CfgNode
from fastreid_compat.repairs.config.settings import resolve_device
from reid_common.errors import UserError

from .distances.blocks import METRICS
from .distances.expansion import Expansion


@dataclass(frozen=True)
class Rerank:
    """Re-ranking with k-reciprocal neighbours; the letters are those of the paper (see jaccard.py).

    Attributes:
        k1: neighbours whose reciprocity counts.
        k2: neighbours of the local query expansion.
        lambda_value: weight of the original distance, 0..1.
    """

    k1: int = 20
    k2: int = 6
    lambda_value: float = 0.3

    def __post_init__(self) -> None:
        if self.k1 < 1 or self.k2 < 1 or not 0 <= self.lambda_value <= 1:
            raise UserError(
                f"re-ranking with k1={self.k1}, k2={self.k2}, lambda={self.lambda_value}: k1 and "
                "k2 must be 1 or more, lambda in 0..1"
            )


@dataclass(frozen=True)
class Options:
    """What is evaluated, and in how much memory.

    Attributes:
        metric: "cosine" (features of any length are normalised) or "euclidean" (they are not).
        rerank: re-ranking; None = none.
        dba: database-side augmentation of the gallery; None = none.
        aqe: average query expansion of queries and gallery, after dba; None = none.
        roc: whether the ROC is wanted.
        top_k: K, neighbours of each query that are returned; 0 = none.
        block_mb: megabytes of one block of distances.
        roc_mb: megabytes of distances up to which the ROC is exact.
        device: where distances and neighbours are computed, as in "cpu" and "cuda:0".
    """

    metric: str = "cosine"
    rerank: Rerank | None = None
    dba: Expansion | None = None
    aqe: Expansion | None = None
    roc: bool = False
    top_k: int = 0
    block_mb: float = 128
    roc_mb: float = 1024
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise UserError(f"metric {self.metric!r} is unknown; choose one of {METRICS}")
        if self.block_mb <= 0 or self.roc_mb < 0 or self.top_k < 0:
            raise UserError(
                f"block_mb={self.block_mb} must be positive; roc_mb={self.roc_mb} and "
                f"top_k={self.top_k} not negative"
            )


def options_from_config(cfg: CfgNode) -> Options:
    """Read the keys TEST.METRIC, RERANK, AQE, ROC and FASTEVAL (see config.py).

    Raises:
        UserError: a value that cannot be.
    """
    test, fasteval = cfg.TEST, cfg.TEST.FASTEVAL
    rerank, aqe, dba = test.RERANK, test.AQE, fasteval.DBA
    return Options(
        metric=test.METRIC,
        rerank=Rerank(rerank.K1, rerank.K2, rerank.LAMBDA) if rerank.ENABLED else None,
        dba=Expansion(dba.K, dba.ALPHA) if dba.ENABLED else None,
        aqe=Expansion(aqe.QE_K, aqe.ALPHA, aqe.QE_TIME) if aqe.ENABLED else None,
        roc=test.ROC.ENABLED,
        top_k=fasteval.TOP_K if fasteval.SAVE_RESULTS else 0,
        block_mb=fasteval.BLOCK_MB,
        roc_mb=fasteval.ROC_MB,
        device=fasteval.DEVICE or resolve_device(cfg),
    )
