"""MoBY: MoCo's queue with BYOL's predictor, in both directions.

Source: Xie et al., "Self-Supervised Learning with Swin Transformers", arXiv 2105.04553, section 3.
Queue i holds keys of view i; the online encoder has drop path, the key encoder none. BatchNorm of
the heads is synchronised, that inside a backbone is not.

Letters: B images of this process, C dimensions of queries and keys, K keys in each queue.
"""

from __future__ import annotations

from typing import Any

import torch
from fastreid.config import CfgNode, configurable
from fastreid.modeling.backbones import build_backbone
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY
from fastreid_compat.repairs.config.settings import resolve_device
from reid_core.run.processes import gathered
from torch import Tensor

from ..losses.contrastive import first_is_right, queue_logits
from ..solver.optimizers import optimizer_of
from ..solver.parameter_groups import parameter_groups
from ..solver.schedules import cosine_with_warmup, timm_cosine
from .batch_norm import synchronised
from .encoder import Encoder
from .method import Place, StepSettings, build_average_backbone
from .momentum_contrast import MomentumContrast, contrast_settings, queue_uniform
from .projectors import mlp
from .queue import KeyQueue


@META_ARCH_REGISTRY.register()
class MoBY(MomentumContrast):
    """Query encoder, predictor, key encoder and two queues.

    Args:
        queue: of two queues.
        device: where it will be, which decides what BatchNorm the heads have.
        **rest: see :class:`MomentumContrast`.
    """

    @configurable
    def __init__(self, *, queue: KeyQueue, device: str = "cpu", **rest: Any) -> None:
        super().__init__(**rest)
        self.queue = queue
        self._new_keys: list[tuple[Tensor, Tensor]] = []
        for head in (self.query_encoder.head, self.key_encoder.head, self.predictor):
            synchronised(head, device)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Constructor keywords from MODEL and MOCO."""
        options, width = cfg.MOCO, cfg.MODEL.BACKBONE.FEAT_DIM
        hidden, out = options.HIDDEN_DIM, options.OUT_DIM
        return {
            "query_encoder": Encoder(build_backbone(cfg), mlp((width, hidden, out), bias=True)),
            "key_backbone": build_average_backbone(cfg),
            "predictor": mlp((out, hidden, out), bias=True),
            "queue": KeyQueue(out, options.QUEUE_SIZE, num_queues=2),
            "device": resolve_device(cfg),
            **contrast_settings(cfg),
        }

    def losses(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """CE(q1 | k2, queue 2) + CE(q2 | k1, queue 1); each view is a pass of its own."""
        first, second = self.normalised(batch["global_views"]).chunk(2)
        queries = self.queries(first), self.queries(second)
        keys = self.keys(first), self.keys(second)
        self._new_keys.append(keys)
        with torch.autocast(self.device.type, enabled=False):
            return {self.loss_name: self.loss(queries[0], keys, 1) + self.loss(queries[1], keys, 0)}

    def loss(self, queries: Tensor, keys: tuple[Tensor, Tensor], view: int) -> Tensor:
        """Cross entropy of queries (B, C) over the keys and the queue of the other view."""
        logits = queue_logits(queries, keys[view], self.queue.keys[view], self.temperature)
        own = torch.zeros(len(logits), dtype=torch.long, device=logits.device)
        self.similarities.add(logits, own, keys[view], self.temperature)
        return first_is_right(logits)

    def begin_step(self) -> None:
        """Let the key encoder follow."""
        super().begin_step()
        self._new_keys.clear()

    def finish_step(self, finite: Tensor) -> dict[str, Tensor | float]:
        """Put the keys of all processes into the queues, rank by rank."""
        views = [gathered(torch.cat(keys)) for keys in zip(*self._new_keys, strict=True)]
        self.queue.push(*views, counts=finite)
        self._new_keys.clear()
        figures = self.queue.figures(self.step, len(views[0]), self.momentum)
        return {**super().finish_step(finite), **figures}

    def uniform_loss(self) -> float:
        """2 ln(1 + K)."""
        return 2 * queue_uniform(self.queue.keys.shape[2])

    def schedule(self, cfg: CfgNode, place: Place) -> StepSettings:
        """timm's cosine for the learning rate, a cosine to 1 for the momentum."""
        now, scale = (place.step, place.num_steps), batch_scale(cfg)
        lr = timm_cosine(
            *now,
            cfg.SOLVER.BASE_LR * scale,
            start=cfg.MOCO.WARMUP_LR * scale,
            end=cfg.MOCO.MIN_LR * scale,
            warmup_steps=cfg.SOLVER.WARMUP_EPOCHS * place.per_epoch,
        )
        return StepSettings(lr, cosine_with_warmup(*now, cfg.MOCO.MOMENTUM, 1.0))

    def rate_in_words(self, cfg: CfgNode) -> str:
        """How the learning rate comes about, for the log."""
        solver, scale = cfg.SOLVER, batch_scale(cfg)
        return (
            f"SOLVER.BASE_LR {solver.BASE_LR:g} x batch {solver.IMS_PER_BATCH} / 512 = "
            f"{solver.BASE_LR * scale:g} after {solver.WARMUP_EPOCHS} epochs of warm-up from "
            f"{cfg.MOCO.WARMUP_LR * scale:g}, then a cosine to {cfg.MOCO.MIN_LR * scale:g}"
        )

    def build_optimizer(self, cfg: CfgNode) -> torch.optim.Optimizer:
        """SOLVER.OPT; biases and parameters with one dimension do not decay."""
        return optimizer_of(cfg, parameter_groups(self, cfg.SOLVER.WEIGHT_DECAY))


def batch_scale(cfg: CfgNode) -> float:
    """What learning rates are multiplied by."""
    return cfg.SOLVER.IMS_PER_BATCH / 512
