"""The TransReID meta-architecture: backbone with side information, head, losses of all branches.

Source: He et al., "TransReID", ICCV 2021, equation 6. L_ID and L_T are FastReID's, so that every
loss that FastReID knows (label smoothing, circle, cosface, ...) works on every branch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from fastreid.config import CfgNode, configurable
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY
from fastreid.modeling.meta_arch.baseline import Baseline
from fastreid.utils.events import get_event_storage
from fastreid_compat.repairs.modeling.training_forward import own_targets
from reid_common.errors import UserError
from torch import Tensor, nn

from .drop_path import blocks_to_compile, share_drop_paths
from .stacked_losses import BATCHED, StackedLosses, put_accuracies
from .stacked_necks import StackedParts


@META_ARCH_REGISTRY.register()
class TransReID(Baseline):
    """FastReID's Baseline, with camera and viewpoint ids for the backbone and local losses.

    With ``BNNeckHead`` (or FastReID's ``EmbeddingHead``) it is the paper's baseline, with
    ``JPMHead`` the whole TransReID.

    Args:
        global_weight: weight of the losses on f_g.
        local_weight: weight of the mean of the losses on the parts.
        **baseline: what FastReID's Baseline takes: backbone, heads, pixel_mean, pixel_std,
            loss_kwargs.
    """

    @configurable
    def __init__(
        self, *, global_weight: float = 1.0, local_weight: float = 1.0, **baseline: Any
    ) -> None:
        super().__init__(**baseline)
        self.global_weight, self.local_weight = global_weight, local_weight
        self.branch_losses = StackedLosses(self.loss_kwargs, global_weight, local_weight)
        if not hasattr(self.backbone, "forward_features"):
            raise UserError(
                f"MODEL.META_ARCHITECTURE TransReID needs a backbone of tokens, not "
                f"{type(self.backbone).__name__}: set MODEL.BACKBONE.NAME "
                "build_transreid_backbone, or MODEL.META_ARCHITECTURE Baseline"
            )
        if hasattr(self.heads, "adopt_last_block"):
            self.heads.adopt_last_block(self.backbone)
        # What a head reads: [cls] as (B, D, 1, 1), or what another method of the backbone returns.
        tokens = getattr(self.heads, "reads_tokens", False)
        self.method = getattr(self.heads, "reads", "forward_features" if tokens else "")

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Constructor keywords: Baseline's, and MODEL.LOSSES.{GLOBAL,LOCAL}_WEIGHT."""
        return {
            **super().from_config(cfg),
            "global_weight": cfg.MODEL.LOSSES.GLOBAL_WEIGHT,
            "local_weight": cfg.MODEL.LOSSES.LOCAL_WEIGHT,
        }

    def _reads(self, images: Tensor, *ids: Tensor | None) -> Any:
        backbone = getattr(self.backbone, self.method) if self.method else self.backbone
        return backbone(images, *ids)

    def parts_to_compile(self) -> list[nn.Module]:
        """Modules for MODEL.COMPILE: what does the work, and little beside it.

        The blocks of the ViT, the branches of JPM, and the losses that are known for all branches
        at once; not the embedding, which checks ids.

        Raises:
            UserError: torch 2.4 cannot recompute compiled blocks; a backbone without blocks.
        """
        if not hasattr(self.backbone, "blocks"):
            raise UserError(
                f"MODEL.COMPILE knows the blocks of a ViT, not {type(self.backbone).__name__}; set "
                "MODEL.COMPILE False"
            )
        branches = (getattr(self.heads, name, None) for name in ("global_branch", "local_branch"))
        parts = blocks_to_compile(self.backbone)
        parts += share_drop_paths(branch for branch in branches if branch is not None)
        return [*parts, self.branch_losses] if self._known_losses() else parts

    def _known_losses(self) -> bool:
        return BATCHED.issuperset(self.loss_kwargs["loss_names"])

    def forward(self, batched_inputs: dict[str, Any]) -> Any:
        """Losses in training, features (B, D') at test time.

        Args:
            batched_inputs: "images" (B, 3, H, W), pixels 0..255; "camids" and "viewids" (B,),
                0-based, where the backbone embeds them; "targets" (B,) in training.
        """
        images = self.preprocess_image(batched_inputs)
        ids = [_ids(batched_inputs, key, images.device) for key in ("camids", "viewids")]
        features = self._reads(images, *ids)
        if not self.training:
            return self.heads(features)
        targets = own_targets(batched_inputs, images.device)
        outputs = self.heads(features, targets)
        # Distances of un-normalised features lose too much in half precision.
        with torch.autocast(images.device.type, enabled=False):
            return self.losses(outputs, targets)

    def losses(self, outputs: dict[str, Any], gt_labels: Tensor) -> dict[str, Tensor]:
        """Weighted losses: FastReID's names for f_g, with "_local" for the mean of the parts.

        Args:
            outputs: of the head; "local" holds those of the parts, if there are any.
            gt_labels: (B,) class indices.
        """
        local = outputs.get("local", [])
        if self._known_losses() and (isinstance(local, StackedParts) or not local):
            tensors = local.tensors if isinstance(local, StackedParts) else _stack_of_one(outputs)
            weighted, accuracies = self.branch_losses(tensors, gt_labels)
            put_accuracies(accuracies)
            return weighted | self._inner_losses(outputs, gt_labels)
        first, *parts = _float32([outputs, *local])
        weighted = {}
        if parts:
            with get_event_storage().name_scope("local"):
                of_parts = [super(TransReID, self).losses(part, gt_labels) for part in parts]
            for name in of_parts[0]:
                mean = torch.stack([loss[name] for loss in of_parts]).mean()
                weighted[f"{name}_local"] = self.local_weight * mean
        for name, loss in super().losses(first, gt_labels).items():
            weighted[name] = self.global_weight * loss
        return weighted | self._inner_losses(first, gt_labels)

    def _inner_losses(self, outputs: dict[str, Tensor], gt_labels: Tensor) -> dict[str, Tensor]:
        """Metric losses on the features "inner" (B, D), which have no classifier, if there are."""
        if "inner" not in outputs:
            return {}
        (outputs,) = _float32([outputs])
        with get_event_storage().name_scope("inner"):
            losses = super().losses({**outputs, "features": outputs["inner"]}, gt_labels)
        losses.pop("loss_cls", None)
        return {f"{name}_inner": self.global_weight * loss for name, loss in losses.items()}


def _stack_of_one(outputs: dict[str, Any]) -> dict[str, Tensor]:
    """Outputs of a head with one branch, as :class:`StackedLosses` takes them."""
    names = ("pred_class_logits", "cls_outputs", "features")
    return {name: outputs[name].unsqueeze(0) for name in names}


def _float32(branches: Iterable[dict[str, Any]]) -> list[dict[str, Tensor]]:
    """Outputs of each branch in float32."""
    return [
        {name: value.float() for name, value in outputs.items() if isinstance(value, Tensor)}
        for outputs in branches
    ]


def _ids(batch: Any, key: str, device: torch.device) -> Tensor | None:
    ids = batch.get(key) if isinstance(batch, Mapping) else None
    return None if ids is None else torch.as_tensor(ids, device=device)
