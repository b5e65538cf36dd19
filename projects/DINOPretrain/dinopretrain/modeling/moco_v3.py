"""MoCo v3: each view's query finds the other view's key among those of its own batch.

Source: Chen et al., "An Empirical Study of Training Self-Supervised Vision Transformers", ICCV
2021, algorithm 1, and sections 4.2 (frozen patch projection) and 4.3. No queue, a predictor, and
all BatchNorm synchronised.

Letters: B images of this process, N of all, C dimensions of queries and keys.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from fastreid.config import CfgNode, configurable
from fastreid.modeling.backbones import build_backbone
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY
from fastreid.utils import comm
from fastreid_compat.repairs.config.settings import resolve_device
from reid_core.run.processes import gathered
from torch import Tensor, nn
from transreid.modeling.backbone import TransReIDBackbone

from ..losses.contrastive import batch_logits, own_is_right
from ..solver.schedules import cosine_to_zero, cosine_with_warmup
from .batch_norm import synchronised
from .encoder import Encoder
from .method import Place, StepSettings, build_average_backbone
from .moco_v3_backbone import prepare_cnn, prepare_vit
from .momentum_contrast import MomentumContrast, contrast_settings
from .projectors import mlp


@META_ARCH_REGISTRY.register()
class MoCoV3(MomentumContrast):
    """Query encoder, predictor and key encoder. In training views give the loss, else features.

    Args:
        device: where it will be, which decides what BatchNorm it has.
        **parts: see :class:`MomentumContrast`.
    """

    @configurable
    def __init__(self, *, device: str = "cpu", **parts: Any) -> None:
        super().__init__(**parts)
        for encoder in (self.query_encoder, self.key_encoder, self.predictor):
            synchronised(encoder, device)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Constructor keywords from MODEL and MOCO."""
        backbone = build_backbone(cfg)
        vit = isinstance(backbone, TransReIDBackbone)
        if vit:
            prepare_vit(backbone, cfg)
        elif not cfg.MODEL.BACKBONE.PRETRAIN:
            prepare_cnn(backbone)
        key_backbone = build_average_backbone(cfg)
        projector, predictor = heads_of(cfg, vit)
        return {
            "query_encoder": Encoder(backbone, projector),
            "key_backbone": key_backbone,
            "predictor": predictor,
            "device": resolve_device(cfg),
            **contrast_settings(cfg),
        }

    def losses(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """2 tau [CE(q1, k2) + CE(q2, k1)]; each view is a forward pass of its own."""
        first, second = self.normalised(batch["global_views"]).chunk(2)
        queries = self.queries(first), self.queries(second)
        keys = self.keys(first), self.keys(second)
        with torch.autocast(self.device.type, enabled=False):
            return {self.loss_name: self.loss(queries[0], keys[1]) + self.loss(queries[1], keys[0])}

    def loss(self, queries: Tensor, keys: Tensor) -> Tensor:
        """2 tau times the cross entropy of queries (B, C) over the keys (N, C) of all processes."""
        logits = batch_logits(queries, gathered(keys), self.temperature)
        first = comm.get_rank() * len(queries)
        own = first + torch.arange(len(queries), device=logits.device)
        self.similarities.add(logits, own, keys, self.temperature)
        self._count = logits.shape[1]
        return 2 * self.temperature * own_is_right(logits, first)

    def uniform_loss(self) -> float:
        """4 tau ln N."""
        return 4 * self.temperature * math.log(max(self._count, 2))

    def schedule(self, cfg: CfgNode, place: Place) -> StepSettings:
        """Learning rate and momentum by a cosine, per iteration."""
        warmup = cfg.SOLVER.WARMUP_EPOCHS * place.per_epoch
        now = place.step, place.num_steps
        return StepSettings(
            lr=cosine_to_zero(*now, peak_rate(cfg), warmup),
            momentum=cosine_with_warmup(*now, cfg.MOCO.MOMENTUM, 1.0),
        )

    def rate_in_words(self, cfg: CfgNode) -> str:
        """How the learning rate comes about, for the log."""
        solver = cfg.SOLVER
        return (
            f"SOLVER.BASE_LR {solver.BASE_LR:g} x batch {solver.IMS_PER_BATCH} / 256 = "
            f"{peak_rate(cfg):g} after {solver.WARMUP_EPOCHS} epochs of warm-up from 0, then a "
            "cosine to 0"
        )


def peak_rate(cfg: CfgNode) -> float:
    """Learning rate at the end of the warm-up: linear in the batch."""
    return cfg.SOLVER.BASE_LR * cfg.SOLVER.IMS_PER_BATCH / 256


def heads_of(cfg: CfgNode, vit: bool) -> tuple[nn.Module, nn.Module]:
    """Projector and predictor, which for a CNN are shorter: appendix B of the paper."""
    options, width = cfg.MOCO, cfg.MODEL.BACKBONE.FEAT_DIM
    hidden, out = options.HIDDEN_DIM, options.OUT_DIM
    widths = (width, hidden, hidden, out) if vit else (width, hidden, out)
    projector = mlp(widths, bias=False, last_norm=True)
    return projector, mlp((out, hidden, out), bias=False, last_norm=vit)
