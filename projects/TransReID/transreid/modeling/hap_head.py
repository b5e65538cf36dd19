"""The heads that HAP is fine-tuned with: a classifier on [cls], and the locality module ("lem").

Source: Yuan et al., "HAP: Structure-Aware Masked Image Modeling for Human-Centric Perception",
NeurIPS 2023, released code: ID and triplet losses on [cls] without a BNNeck; or, with lem, on [cls]
and on what three convolutional blocks make of the map of patches, each with a BNNeck, both side by
side as the feature. All classifiers have a bias.

Letters: B images, D dimensions, (h, w) grid of patches.
"""

from __future__ import annotations

from typing import Any

from fastreid.config import CfgNode, configurable
from fastreid.modeling.heads import REID_HEADS_REGISTRY
from torch import Tensor, nn

from .bnneck import BNNeck, BNNeckHead, BranchesHead, head_arguments

BLOCKS = 3
EPS = 1e-6


@REID_HEADS_REGISTRY.register()
class LinearHead(BNNeckHead):
    """[cls], and a linear classifier with bias on it: no BNNeck, the feature is [cls] itself.

    Args:
        **head: of :class:`.bnneck.BNNeckHead`.
    """

    @configurable
    def __init__(self, **head: Any) -> None:
        super().__init__(**head, norm=False, bias=True)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Constructor keywords from MODEL.HEADS and MODEL.BACKBONE.FEAT_DIM."""
        return head_arguments(cfg)


class LocalityModule(nn.Module):
    """Three bottlenecks of a ResNet on the map of patches, the first with stride 2, and their mean.

    Args:
        dim: D.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        from timm.models.resnet import Bottleneck, downsample_conv  # late: timm takes seconds

        shortcut = downsample_conv(dim, 2 * dim, 1, stride=2)
        self.blocks = nn.Sequential(
            Bottleneck(dim, dim // 2, stride=2, downsample=shortcut),
            *(Bottleneck(2 * dim, dim // 2) for _ in range(BLOCKS - 1)),
        )
        self.norm = nn.LayerNorm(2 * dim, eps=EPS)

    def forward(self, patches: Tensor) -> Tensor:
        """Map (B, D, h, w) -> (B, 2D)."""
        return self.norm(self.blocks(patches).mean((2, 3)))


@REID_HEADS_REGISTRY.register()
class LocalityHead(BranchesHead):
    """[cls] and the locality module's feature, with a BNNeck each.

    Args:
        feat_dim: D.
        neck_feat: feature of the metric losses, "before" or "after" BN.
        test_neck_feat: feature at test time, see :meth:`.bnneck.BNNeck.test_feature`.
        **neck: of :class:`.bnneck.BNNeck`.
    """

    reads = "forward_map"

    @configurable
    def __init__(
        self,
        *,
        feat_dim: int,
        neck_feat: str = "before",
        test_neck_feat: str = "before",
        **neck: Any,
    ) -> None:
        super().__init__(neck_feat, test_neck_feat)
        self.locality = LocalityModule(feat_dim)
        dims = (feat_dim, 2 * feat_dim)
        self.necks = nn.ModuleList(BNNeck(dim, **neck, bias=True) for dim in dims)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Constructor keywords from MODEL.HEADS and MODEL.BACKBONE.FEAT_DIM."""
        return head_arguments(cfg)

    def forward(self, features: tuple[Tensor, Tensor], targets: Tensor | None = None) -> Any:
        """Map [cls] after the norm (B, D) and the patches before it (B, D, h, w) to outputs.

        Returns:
            See :meth:`.bnneck.BranchesHead.of_branches`; the feature has 3D numbers.
        """
        cls, patches = features
        return self.of_branches((cls, self.locality(patches)), targets)
