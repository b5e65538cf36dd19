"""BNNeck: batch normalisation between the triplet feature and the classifier.

Source: Luo et al., "A Strong Baseline and Batch Normalization Neck for Deep Person
Re-identification", TMM 2019: triplet loss on the feature before BN, ID loss after BN, BN's shift
frozen at 0, classifier without bias.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from fastreid.config import CfgNode, configurable
from fastreid.layers import any_softmax
from fastreid.modeling.heads import REID_HEADS_REGISTRY
from reid_common.errors import UserError
from reid_core.config.values import check_choice
from torch import Tensor, nn

NECK_FEATS = ("before", "after")
TEST_NECK_FEATS = (*NECK_FEATS, "centered")
# FastReID's, and AM-Softmax under its own name: Wang F. et al., "Additive Margin Softmax for Face
# Verification", 2018, and Wang H. et al., "CosFace", CVPR 2018, have one and the same formula,
# s * (cos - m) for the true class and s * cos for the others.
CLASSIFIERS = {
    **{name: getattr(any_softmax, name) for name in any_softmax.__all__},
    "AMSoftmax": any_softmax.CosSoftmax,
}


class BNNeck(nn.Module):
    """One BNNeck and its classifier.

    Args:
        feat_dim: D.
        num_classes: identities in the training set; 0 for a model that is only evaluated.
        cls_type: name in :data:`CLASSIFIERS`: "Linear", or a margin classifier ("ArcSoftmax",
            "CosSoftmax" = "AMSoftmax", "CircleSoftmax"), which works on cosines.
        scale: factor of the logits.
        margin: margin of the margin classifiers.
        norm: False leaves the batch normalisation out: the classifier reads the feature itself.
        bias: whether the classifier, which must be "Linear", has one.

    Raises:
        UserError: an unknown ``cls_type``, or one that cannot have a bias.
    """

    def __init__(
        self,
        feat_dim: int,
        num_classes: int,
        cls_type: str = "Linear",
        scale: float = 1,
        margin: float = 0.0,
        norm: bool = True,
        bias: bool = False,
    ) -> None:
        super().__init__()
        known = ["Linear"] if bias else list(CLASSIFIERS)
        if cls_type not in known:
            raise UserError(
                f"MODEL.HEADS.CLS_LAYER is {cls_type!r}; choose one of {', '.join(known)}"
            )
        self.bottleneck: nn.Module = nn.BatchNorm1d(feat_dim) if norm else nn.Identity()
        if norm:
            cast(nn.Parameter, self.bottleneck.bias).requires_grad_(False)
        with warnings.catch_warnings():
            # torch warns of the empty classifier of a model that is only evaluated.
            warnings.filterwarnings("ignore", "Initializing zero-element tensors")
            self.classifier = nn.Linear(feat_dim, num_classes, bias=bias)
            nn.init.normal_(self.classifier.weight, std=0.02 if bias else 0.001)  # as released
        if bias:
            nn.init.zeros_(self.classifier.bias)
        self.cls_layer = CLASSIFIERS[cls_type](num_classes, scale, margin)

    def logits(self, after: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """ID logits (B, num_classes) of features after BN (B, D) for targets (B,).

        "cls_outputs" have the margin, for the loss; "pred_class_logits" do not, for the accuracy.
        """
        outputs = self.logits_of(after, self.classifier.weight, targets)
        bias = self.classifier.bias
        return outputs if bias is None else {name: x + bias for name, x in outputs.items()}

    def logits_of(self, after: Tensor, weight: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """:meth:`logits` with another weight (..., C, D), of features (..., B, D)."""
        if type(self.cls_layer) is any_softmax.Linear:
            logits = _product(after, weight).float()
        else:
            # Angles near 0 need more digits than float16 has.
            with torch.autocast(after.device.type, enabled=False):
                unit, weight = (F.normalize(x.float(), dim=-1) for x in (after, weight))
                logits = _product(unit, weight)
        # The margin layers of FastReID change their input in place.
        return {
            "cls_outputs": self.cls_layer(logits.clone(), targets),
            "pred_class_logits": logits * self.cls_layer.s,
        }

    def outputs(self, before: Tensor, targets: Tensor, neck_feat: str) -> dict[str, Tensor]:
        """Training outputs of one branch, as FastReID's losses read them.

        Of features before BN (B, D) and class indices (B,): what :meth:`logits` returns, and
        "features" (B, D) for the metric losses, "before" or "after" BN.
        """
        after = self.bottleneck(before)
        features = before if neck_feat == "before" else after
        return {**self.logits(after, targets), "features": features}

    def test_feature(self, before: Tensor, kind: str) -> Tensor:
        """Feature of one branch at test time, (B, D).

        Args:
            before: (B, D) feature before BN.
            kind: "before" or "after" BN, or "centered": before, less the mean that BN has stored of
                the training images. What all images share, which may be most of a feature after a
                training from random weights, is gone, and no dimension is scaled.
        """
        if kind == "centered":
            return before - cast(Tensor, self.bottleneck.running_mean)
        return self.bottleneck(before) if kind == "after" else before


def _product(features: Tensor, weight: Tensor) -> Tensor:
    """(B, D) and (C, D) -> (B, C), or of k of both, (k, B, D) and (k, C, D) -> (k, B, C)."""
    return F.linear(features, weight) if weight.ndim == 2 else torch.bmm(features, weight.mT)


def head_arguments(cfg: CfgNode) -> dict[str, Any]:
    """Constructor keywords that all heads of this package share."""
    heads = cfg.MODEL.HEADS
    if heads.EMBEDDING_DIM > 0:
        raise UserError(
            f"MODEL.HEADS.EMBEDDING_DIM is {heads.EMBEDDING_DIM}, but {heads.NAME} keeps the ViT's "
            "dimension; set it to 0, or use EmbeddingHead"
        )
    return {
        "feat_dim": cfg.MODEL.BACKBONE.FEAT_DIM,
        "num_classes": heads.NUM_CLASSES,
        "neck_feat": heads.NECK_FEAT,
        "test_neck_feat": heads.TEST_NECK_FEAT,
        "cls_type": heads.CLS_LAYER,
        "scale": heads.SCALE,
        "margin": heads.MARGIN,
    }


class NeckHead(nn.Module):
    """What all heads of this package share: which features their BNNecks give.

    Args:
        neck_feat: feature of the metric losses, one of NECK_FEATS.
        test_neck_feat: feature at test time, one of TEST_NECK_FEATS.

    Raises:
        UserError: another one.
    """

    def __init__(self, neck_feat: str, test_neck_feat: str) -> None:
        super().__init__()
        check_choice("MODEL.HEADS.NECK_FEAT", neck_feat, NECK_FEATS)
        check_choice("MODEL.HEADS.TEST_NECK_FEAT", test_neck_feat, TEST_NECK_FEATS)
        self.neck_feat, self.test_neck_feat = neck_feat, test_neck_feat


class BranchesHead(NeckHead):
    """Several features with a BNNeck each; the first is the global one.

    Args:
        neck_feat: see :class:`NeckHead`.
        test_neck_feat: likewise.
    """

    necks: nn.ModuleList

    def of_branches(self, features: Sequence[Tensor], targets: Tensor | None) -> Any:
        """Outputs of features before BN, (B, D_i) each, and targets (B,).

        Returns:
            In training the outputs of the first as FastReID's heads return them, with those of the
            others in the list "local". At test time all of them side by side.
        """
        branches: list[Any] = list(zip(self.necks, features, strict=True))
        if not self.training:
            parts = [neck.test_feature(x, self.test_neck_feat) for neck, x in branches]
            return torch.cat(parts, dim=1)
        first, *local = (neck.outputs(x, targets, self.neck_feat) for neck, x in branches)
        return {**first, "local": local}


@REID_HEADS_REGISTRY.register()
class BNNeckHead(NeckHead):
    """The head of TransReID's baseline: [cls], BNNeck, classifier.

    Unlike FastReID's EmbeddingHead it can give the feature before BN at test time, as the released
    configs do. It works under FastReID's ``Baseline`` too.

    Args:
        neck_feat: feature of the metric losses, "before" or "after" BN.
        test_neck_feat: feature at test time, see :meth:`BNNeck.test_feature`.
        **neck: of :class:`BNNeck`.
    """

    @configurable
    def __init__(
        self, *, neck_feat: str = "before", test_neck_feat: str = "before", **neck: Any
    ) -> None:
        super().__init__(neck_feat, test_neck_feat)
        self.neck = BNNeck(**neck)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Constructor keywords from MODEL.HEADS and MODEL.BACKBONE.FEAT_DIM."""
        return head_arguments(cfg)

    def forward(self, features: Tensor, targets: Tensor | None = None) -> Any:
        """Map [cls] (B, D, 1, 1) to a dict of training outputs, or to test features (B, D)."""
        before = features.flatten(1)
        if self.training:
            assert targets is not None
            return self.neck.outputs(before, targets, self.neck_feat)
        return self.neck.test_feature(before, self.test_neck_feat)
