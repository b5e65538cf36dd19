"""The head of CLIP-ReID: BNNecks on [cls] and on its projection into CLIP's space.

Source: Li et al., "CLIP-ReID: Exploiting Vision-Language Model for Image Re-Identification without
Concrete Text Labels", AAAI 2023, released code: ID losses on both, triplet losses on both and on
[cls] before the last block; both, side by side, are the feature at test time. The loss on texts is
left out: this is the paper's baseline, which also evaluates models that were trained with texts.
"""

from __future__ import annotations

from typing import Any

from fastreid.config import CfgNode, configurable
from fastreid.modeling.heads import REID_HEADS_REGISTRY
from torch import Tensor, nn

from .bnneck import BNNeck, BranchesHead, head_arguments


@REID_HEADS_REGISTRY.register()
class CLIPReIDHead(BranchesHead):
    """Two BNNecks on what :meth:`TransReIDBackbone.forward_projected` returns.

    Args:
        feat_dim: D.
        projection: P.
        neck_feat: feature of the metric losses, "before" or "after" BN.
        test_neck_feat: feature at test time, see :meth:`BNNeck.test_feature`.
        **neck: of :class:`BNNeck`.
    """

    reads = "forward_projected"

    @configurable
    def __init__(
        self,
        *,
        feat_dim: int,
        projection: int,
        neck_feat: str = "before",
        test_neck_feat: str = "before",
        **neck: Any,
    ) -> None:
        super().__init__(neck_feat, test_neck_feat)
        self.necks = nn.ModuleList([BNNeck(feat_dim, **neck), BNNeck(projection, **neck)])

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Constructor keywords from MODEL.HEADS and MODEL.BACKBONE."""
        return {**head_arguments(cfg), "projection": cfg.MODEL.BACKBONE.PROJECTION}

    def forward(
        self, features: tuple[Tensor, Tensor, Tensor], targets: Tensor | None = None
    ) -> Any:
        """Map [cls] before the last block, [cls] and its projection to outputs.

        Returns:
            In training the outputs of [cls] as FastReID's heads return them, with those of the
            projection in the list "local", and [cls] before the last block as "inner" (B, D). At
            test time the feature [f, f proj], (B, D + P).
        """
        inner, *pair = features
        outputs = self.of_branches(pair, targets)
        return {**outputs, "inner": inner} if self.training else outputs
