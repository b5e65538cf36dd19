"""The jigsaw patch module: a global branch, and local branches of shuffled patches.

Source: He et al., "TransReID", ICCV 2021, section 3.2 and figure 4, and the released code.

Letters: B images, P prefix tokens, N patches, D dimensions, k parts, n = N // k patches a part.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, cast

import torch
from fastreid.config import CfgNode, configurable
from fastreid.modeling.heads import REID_HEADS_REGISTRY
from reid_common.errors import UserError
from torch import Tensor, nn

from .bnneck import BNNeck, NeckHead, head_arguments
from .cls_attention import cls_of_block
from .jigsaw import jigsaw_parts
from .stacked_necks import can_be_stacked, stacked_outputs

if TYPE_CHECKING:
    from .backbone import TransReIDBackbone


class Branch(nn.Module):
    """A last transformer block with its final norm, of which only [cls] is used."""

    def __init__(self, block: nn.Module, norm: nn.Module) -> None:
        super().__init__()
        self.block, self.norm = block, norm

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (B, L, D), [cls] first -> (B, D)."""
        return self.norm(cls_of_block(self.block, tokens))


@REID_HEADS_REGISTRY.register()
class JPMHead(NeckHead):
    """Global and local branches, each with BNNeck and classifier of its own.

    ``adopt_last_block`` must be called once before use (the meta-architecture TransReID does): both
    branches start as copies of the backbone's last block, made after pretrained weights are in.

    Args:
        feat_dim: D.
        num_classes: identities in the training set.
        num_parts: k.
        shift_num: m, see :func:`transreid.modeling.jigsaw.shift_tokens`.
        shuffle_groups: g.
        rearrange: False leaves the patches in their order.
        global_only: the feature at test time is f_g alone; the local branch is not computed.
        neck_feat: feature of the metric losses, "before" or "after" BN.
        test_neck_feat: see :meth:`transreid.modeling.bnneck.BNNeck.test_feature`.
        cls_type: see :class:`transreid.modeling.bnneck.BNNeck`, as scale and margin.
        scale: of the logits.
        margin: of a margin classifier.
    """

    reads_tokens = True

    @configurable
    def __init__(
        self,
        *,
        feat_dim: int,
        num_classes: int,
        num_parts: int = 4,
        shift_num: int = 5,
        shuffle_groups: int = 2,
        rearrange: bool = True,
        global_only: bool = False,
        neck_feat: str = "before",
        test_neck_feat: str = "before",
        cls_type: str = "Linear",
        scale: float = 1,
        margin: float = 0.0,
    ) -> None:
        super().__init__(neck_feat, test_neck_feat)
        counts = {"NUM_PARTS": num_parts, "SHIFT_NUM": shift_num, "SHUFFLE_GROUPS": shuffle_groups}
        for key, value in counts.items():
            if value < 1:
                raise UserError(f"MODEL.JPM.{key} must be at least 1, got {value}")
        self.num_parts, self.rearrange = num_parts, rearrange
        self.global_only = global_only
        self.shift_num, self.shuffle_groups = shift_num, shuffle_groups
        self.num_prefix_tokens = 1
        # Index 0 is the global branch, 1..k are the parts.
        self.necks = nn.ModuleList(
            BNNeck(feat_dim, num_classes, cls_type, scale, margin) for _ in range(num_parts + 1)
        )

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Constructor keywords from MODEL.HEADS, MODEL.JPM and MODEL.BACKBONE.FEAT_DIM."""
        jpm = cfg.MODEL.JPM
        return {
            **head_arguments(cfg),
            "num_parts": jpm.NUM_PARTS,
            "shift_num": jpm.SHIFT_NUM,
            "shuffle_groups": jpm.SHUFFLE_GROUPS,
            "rearrange": jpm.REARRANGE,
            "global_only": jpm.get("GLOBAL_ONLY", False),
        }

    def adopt_last_block(self, backbone: TransReIDBackbone) -> None:
        """Make both branches copies of the backbone's last block and norm, and take it from there.

        Raises:
            UserError: the backbone has fewer patches than parts.
        """
        num_patches = backbone.patch_embed.num_patches
        if num_patches < self.num_parts:
            raise UserError(
                f"{num_patches} patches cannot be split into MODEL.JPM.NUM_PARTS = {self.num_parts}"
            )
        block, norm = backbone.pop_last_block()
        self.num_prefix_tokens = backbone.num_prefix_tokens
        self.local_branch = Branch(copy.deepcopy(block), copy.deepcopy(norm))
        self.global_branch = Branch(block, norm)

    def _necks(self) -> list[BNNeck]:
        return cast(list[BNNeck], list(self.necks))

    def branch_features(self, tokens: Tensor) -> list[Tensor]:
        """Features before BN of tokens (B, P + N, D): f_g, then f_l^1 ... f_l^k, (B, D) each."""
        f_global = self.global_branch(tokens)
        prefix, patches = tokens[:, : self.num_prefix_tokens], tokens[:, self.num_prefix_tokens :]
        parts = jigsaw_parts(
            patches, self.num_parts, self.shift_num, self.shuffle_groups, self.rearrange
        )
        prefix = prefix[:, None].expand(-1, self.num_parts, -1, -1)
        # All parts of all images go through the one local block as one batch of B * k.
        f_local = self.local_branch(torch.cat([prefix, parts], dim=2).flatten(0, 1))
        f_local = f_local.unflatten(0, (-1, self.num_parts))
        return [f_global, *f_local.unbind(1)]

    def _outputs(self, before: list[Tensor], targets: Tensor) -> dict[str, Any]:
        """Training outputs of f_g and of the parts: of all at once where that is possible."""
        necks = self._necks()
        if can_be_stacked(necks):
            stack = stacked_outputs(necks, torch.stack(before, dim=1), targets, self.neck_feat)
            return {**stack.branch(0), "local": stack}
        pairs = zip(necks, before, strict=True)
        first, *local = [neck.outputs(f, targets, self.neck_feat) for neck, f in pairs]
        return {**first, "local": local}

    def forward(self, tokens: Tensor, targets: Tensor | None = None) -> Any:
        """Map the tokens of the first L - 1 blocks (B, P + N, D) to outputs.

        Returns:
            In training the outputs of the global branch as FastReID's heads return them, with those
            of the parts as a sequence (a list or StackedParts) under "local". At test time the
            feature [f_g, f_l^1 / k, ..., f_l^k / k], (B, (k + 1) * D); if global_only f_g alone,
            (B, D).
        """
        if not hasattr(self, "global_branch"):
            raise UserError(
                "JPMHead has no branches yet: it works under MODEL.META_ARCHITECTURE TransReID, "
                "which calls adopt_last_block"
            )
        skip_parts = self.global_only and not self.training
        before = [self.global_branch(tokens)] if skip_parts else self.branch_features(tokens)
        if self.training:
            assert targets is not None
            return self._outputs(before, targets)
        f_global, *f_local = (
            neck.test_feature(feature, self.test_neck_feat)
            for neck, feature in zip(self._necks(), before, strict=False)
        )
        return torch.cat([f_global, *(f / self.num_parts for f in f_local)], dim=1)
