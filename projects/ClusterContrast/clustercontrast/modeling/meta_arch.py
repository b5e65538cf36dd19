"""The meta-architecture ClusterContrast: backbone, head, cluster memory."""

from __future__ import annotations

from typing import Any

import torch
from fastreid.config import CfgNode, configurable
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY
from fastreid.modeling.meta_arch.baseline import Baseline
from torch import Tensor, nn
from transreid.modeling.backbone import TransReIDBackbone
from transreid.modeling.drop_path import blocks_to_compile

from ..memory.cluster_memory import ClusterMemory
from .grouped_norm import group_batch_norms


@META_ARCH_REGISTRY.register()
class ClusterContrast(Baseline):
    """A backbone of tokens or maps whose features are held against the centres of clusters.

    Args:
        memory: the rows are put in by the trainer, in each epoch.
        bn_group: images that share statistics of BatchNorm in training; 0: the whole batch.
        **baseline: what FastReID's Baseline takes: backbone, heads, pixel_mean, pixel_std.
    """

    @configurable
    def __init__(self, *, memory: ClusterMemory, bn_group: int = 0, **baseline: Any) -> None:
        super().__init__(**baseline)
        self.memory = memory
        group_batch_norms(self, bn_group)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Constructor keywords: Baseline's, and those of CLUSTER."""
        options = cfg.CLUSTER
        memory = ClusterMemory(options.TEMPERATURE, options.MOMENTUM, options.UPDATE)
        return {**super().from_config(cfg), "memory": memory, "bn_group": options.BN_GROUP}

    def parts_to_compile(self) -> list[nn.Module]:
        """Modules for MODEL.COMPILE: the blocks of a ViT, else the backbone."""
        backbone: Any = self.backbone
        return blocks_to_compile(backbone) if hasattr(backbone, "blocks") else [backbone]

    def forward(self, batched_inputs: dict[str, Any]) -> Any:
        """The loss in training, features (B, D) at test time.

        Args:
            batched_inputs: "images" (B, 3, H, W), pixels 0..255; "targets" (B,) in training: the
                cluster of each; "camids" and "viewids" (B,) for a ViT with side information.
        """
        images = self.preprocess_image(batched_inputs)
        features = self.heads(self.backbone(images, *self._ids(batched_inputs)))
        if not self.training:
            return features
        labels = batched_inputs["targets"].to(images.device)
        with torch.autocast(images.device.type, enabled=False):
            return {"loss_cluster": self.memory(features.float(), labels)}

    def _ids(self, batch: dict[str, Any]) -> list[Tensor | None]:
        if not isinstance(self.backbone, TransReIDBackbone) or not isinstance(batch, dict):
            return []
        device = self.pixel_mean.device
        given = (batch.get(key) for key in ("camids", "viewids"))
        return [None if ids is None else torch.as_tensor(ids, device=device) for ids in given]
