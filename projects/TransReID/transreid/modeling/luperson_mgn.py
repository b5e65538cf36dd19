"""MGN as LUPerson's authors fine-tune it: one more batch norm on the map of each branch.

Source: Fu et al., "Unsupervised Pre-training for Person Re-identification", CVPR 2021, released
code (EXTRA_BN); the rest is FastReID's MGN.
"""

from __future__ import annotations

from typing import Any

from fastreid.config import CfgNode, configurable
from fastreid.layers import get_norm
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY
from fastreid.modeling.meta_arch.mgn import MGN
from fastreid_compat.repairs.modeling.training_forward import MGN_BRANCHES, mgn_of_maps
from torch import nn

EXTRA = "heads_extra_bn_"
CHANNELS = 2048  # of a ResNet-50's last map


@META_ARCH_REGISTRY.register()
class LUPersonMGN(MGN):
    """FastReID's MGN with a batch norm between each branch and its heads.

    It belongs to the heads: MODEL.FREEZE_LAYERS ["backbone", "b1", "b2", "b3"] leaves it free.

    Args:
        norm: name of the norms, MODEL.BACKBONE.NORM.
        **mgn: of FastReID's MGN.
    """

    @configurable
    def __init__(self, *, norm: str = "BN", **mgn: Any) -> None:
        super().__init__(**mgn)
        for branch in MGN_BRANCHES:
            self.add_module(f"{EXTRA}{branch}", get_norm(norm, CHANNELS))

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Constructor keywords: MGN's, and MODEL.BACKBONE.NORM."""
        return {**super().from_config(cfg), "norm": cfg.MODEL.BACKBONE.NORM}

    def forward(self, batched_inputs: dict[str, Any]) -> Any:
        """Losses in training, features (B, 8 EMBEDDING_DIM) at test time; see FastReID's MGN."""
        features = self.backbone(self.preprocess_image(batched_inputs))
        norms: dict[str, nn.Module] = {b: getattr(self, EXTRA + b) for b in MGN_BRANCHES}
        maps = {branch: norm(getattr(self, branch)(features)) for branch, norm in norms.items()}
        return mgn_of_maps(self, maps, batched_inputs)
