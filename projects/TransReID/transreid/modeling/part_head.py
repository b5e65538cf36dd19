"""The head of PASS: [cls] and the mean of the part tokens, one beside the other, or their mean.

Source: Zhu et al., "PASS: Part-Aware Self-Supervised Pre-Training for Person Re-Identification",
ECCV 2022, released code.

Letters: B images, n part tokens, D dimensions, F = 2D ("cat") or D ("mean").
"""

from __future__ import annotations

from typing import Any, cast

import torch
from fastreid.config import CfgNode, configurable
from fastreid.modeling.heads import REID_HEADS_REGISTRY
from reid_core.config.values import check_choice
from torch import Tensor, nn

from .bnneck import BNNeck, NeckHead, head_arguments

MIXES = ("cat", "mean")
NECKS = ("each", "one")


def mix_tokens(tokens: Tensor, mix: str) -> Tensor:
    """[cls] g and parts (B, 1 + n, D) -> [g, p] or (g + p) / 2, (B, F); p is the parts' mean."""
    whole, parts = tokens[:, 0], tokens[:, 1:].mean(1)
    return torch.cat([whole, parts], dim=1) if mix == "cat" else (whole + parts) / 2


class TokenNorms(nn.Module):
    """BN of each token before they are mixed, or one BN of the mix.

    Args:
        feat_dim: D.
        num_tokens: 1 + n.
        mix: of :data:`MIXES`.
        necks: of :data:`NECKS`.
    """

    def __init__(self, feat_dim: int, num_tokens: int, mix: str, necks: str) -> None:
        super().__init__()
        check_choice("MODEL.HEADS.PART_MIX", mix, MIXES)
        check_choice("MODEL.HEADS.PART_NECKS", necks, NECKS)
        self.mix, self.each = mix, necks == "each"
        mixed = 2 * feat_dim if mix == "cat" else feat_dim
        dims = [feat_dim] * num_tokens if self.each else [mixed]
        self.norms = nn.ModuleList(nn.BatchNorm1d(dim) for dim in dims)
        for norm in self.norms:
            cast(Tensor, norm.bias).requires_grad_(False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (B, 1 + n, D) -> the feature after BN (B, F)."""
        if not self.each:
            return self.norms[0](mix_tokens(tokens, self.mix))
        pairs = zip(self.norms, tokens.unbind(1), strict=True)
        return mix_tokens(torch.stack([norm(token) for norm, token in pairs], 1), self.mix)

    def centred(self, tokens: Tensor) -> Tensor:
        """The feature before BN (B, F), less the mean that BN has stored."""
        means = torch.stack([cast(Tensor, norm.running_mean) for norm in self.norms])
        if self.each:
            return mix_tokens(tokens - means, self.mix)
        return mix_tokens(tokens, self.mix) - means


@REID_HEADS_REGISTRY.register()
class PartTokenHead(NeckHead):
    """PASS's feature, its BNNecks and one classifier.

    Args:
        feat_dim: D.
        num_parts: n, MODEL.BACKBONE.PART_TOKENS.
        mix: "cat", as released, or "mean".
        necks: a BNNeck for "each" token, as released, or "one" for the mix.
        neck_feat: feature of the metric losses, "before" or "after" BN.
        test_neck_feat: feature at test time, see :meth:`BNNeck.test_feature`.
        **neck: of :class:`BNNeck`.
    """

    reads = "forward_features"

    @configurable
    def __init__(
        self,
        *,
        feat_dim: int,
        num_parts: int,
        mix: str = "cat",
        necks: str = "each",
        neck_feat: str = "before",
        test_neck_feat: str = "before",
        **neck: Any,
    ) -> None:
        super().__init__(neck_feat, test_neck_feat)
        self.num_tokens, self.mix = 1 + num_parts, mix
        self.neck = BNNeck(2 * feat_dim if mix == "cat" else feat_dim, **neck)
        self.neck.bottleneck = cast(Any, TokenNorms(feat_dim, 1 + num_parts, mix, necks))

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Constructor keywords from MODEL.HEADS and MODEL.BACKBONE."""
        heads = cfg.MODEL.HEADS
        parts = {"num_parts": cfg.MODEL.BACKBONE.PART_TOKENS}
        return {**head_arguments(cfg), **parts, "mix": heads.PART_MIX, "necks": heads.PART_NECKS}

    def forward(self, tokens: Tensor, targets: Tensor | None = None) -> Any:
        """Map tokens after the norm (B, 1 + n + N, D) to training outputs, or features (B, F)."""
        tokens = tokens[:, : self.num_tokens]
        before = mix_tokens(tokens, self.mix)
        norms = cast(TokenNorms, self.neck.bottleneck)
        if not self.training:
            if self.test_neck_feat == "before":
                return before
            return norms(tokens) if self.test_neck_feat == "after" else norms.centred(tokens)
        assert targets is not None
        after = norms(tokens)
        features = before if self.neck_feat == "before" else after
        return {**self.neck.logits(after, targets), "features": features}
