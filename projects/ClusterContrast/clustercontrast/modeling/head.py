"""The head of cluster contrast: pooling, BNNeck, no classifier."""

from __future__ import annotations

from typing import Any

from fastreid.config import CfgNode, configurable
from fastreid.layers import pooling
from fastreid.modeling.heads import REID_HEADS_REGISTRY
from reid_core.config.values import check_choice
from torch import Tensor
from transreid.modeling.bnneck import BNNeckHead, head_arguments


@REID_HEADS_REGISTRY.register()
class ClusterHead(BNNeckHead):
    """Pools a map, and normalises over the batch; the memory takes the classifier's place.

    Args:
        pool_layer: name in ``fastreid.layers.pooling``; for the one token of a ViT GlobalAvgPool,
            which leaves it as it is, or Identity.
        **head: of :class:`transreid.BNNeckHead`, whose ``num_classes`` is 0.
    """

    @configurable
    def __init__(self, *, pool_layer: str = "GlobalAvgPool", **head: Any) -> None:
        super().__init__(**head)
        check_choice("MODEL.HEADS.POOL_LAYER", pool_layer, pooling.__all__)
        self.pool_layer = getattr(pooling, pool_layer)()
        self.neck.classifier.requires_grad_(False)  # of 0 classes, kept for other tools

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Constructor keywords from MODEL.HEADS and MODEL.BACKBONE.FEAT_DIM."""
        pool = cfg.MODEL.HEADS.POOL_LAYER
        return {**head_arguments(cfg), "num_classes": 0, "pool_layer": pool}

    def forward(self, features: Tensor, targets: Tensor | None = None) -> Tensor:
        """Map (B, D, H, W), or (B, D, 1, 1) of a ViT, to features (B, D) after the neck."""
        before = self.pool_layer(features).flatten(1)
        if self.training:
            return self.neck.bottleneck(before)
        return self.neck.test_feature(before, self.test_neck_feat)
