"""MoCo v2: one view's query finds the other view's key among those of earlier batches.

Source: He et al., "Momentum Contrast for Unsupervised Visual Representation Learning", CVPR 2020;
Chen et al., "Improved Baselines with Momentum Contrastive Learning", arXiv 2003.04297. BatchNorm is
not synchronised: images are shuffled over the processes for the key encoder (section 3.3), so that
no statistics of its batch tell a query its key.

Letters: B images of this process, N of all, C dimensions of queries and keys, K keys in the queue.
"""

from __future__ import annotations

from typing import Any

import torch
from fastreid.config import CfgNode, configurable
from fastreid.modeling.backbones import build_backbone
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY
from fastreid.utils import comm
from reid_core.run.processes import gathered
from torch import Tensor

from ..distributed import copy_buffers_of_rank_0, own_part, shared_permutation
from ..losses.contrastive import first_is_right, queue_logits
from ..solver.schedules import epoch_cosine
from .encoder import Encoder
from .method import Place, StepSettings, build_average_backbone
from .momentum_contrast import MomentumContrast, contrast_settings, queue_uniform
from .projectors import mlp
from .queue import KeyQueue


@META_ARCH_REGISTRY.register()
class MoCoV2(MomentumContrast):
    """Query encoder, key encoder and a queue. In training views give the loss, else features.

    Args:
        queue: of keys.
        shuffle: shuffle BN, where there are several processes.
        **rest: see :class:`MomentumContrast`.
    """

    @configurable
    def __init__(self, *, queue: KeyQueue, shuffle: bool = True, **rest: Any) -> None:
        super().__init__(**rest)
        self.queue, self.shuffle = queue, shuffle
        self._new_keys: list[Tensor] = []

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Constructor keywords from MODEL and MOCO."""
        options, width = cfg.MOCO, cfg.MODEL.BACKBONE.FEAT_DIM
        projector = mlp((width, width, options.OUT_DIM), bias=True, norm=False)
        return {
            "query_encoder": Encoder(build_backbone(cfg), projector),
            "key_backbone": build_average_backbone(cfg),
            "predictor": None,
            "queue": KeyQueue(options.OUT_DIM, options.QUEUE_SIZE),
            "shuffle": options.SHUFFLE_BN,
            **contrast_settings(cfg),
        }

    def losses(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Cross entropy of the first view's queries, over the second's keys and the queue."""
        first, second = self.normalised(batch["global_views"]).chunk(2)
        queries = self.queries(first)
        keys = self.shuffled_keys(second) if self.shuffle else self.keys(second)
        with torch.autocast(self.device.type, enabled=False):
            logits = queue_logits(queries, keys, self.queue.keys[0], self.temperature)
            own = torch.zeros(len(logits), dtype=torch.long, device=logits.device)
            self.similarities.add(logits, own, keys, self.temperature)
            self._new_keys.append(keys)
            return {self.loss_name: first_is_right(logits)}

    @torch.no_grad()
    def shuffled_keys(self, images: Tensor) -> Tensor:
        """Keys of images (B, 3, H, W), each encoded in whatever process a permutation sends it to.

        Process r encodes the images p[rB .. rB + B - 1] of those of all processes.
        """
        if comm.get_world_size() == 1:
            return self.keys(images)
        everybody = gathered(images)
        order = self.permutation(len(everybody))
        keys = gathered(self.keys(everybody[own_part(order)]))
        return own_part(keys[order.argsort()])

    def permutation(self, count: int) -> Tensor:
        """A permutation (count,), the same in all processes."""
        return shared_permutation(count, self.device)

    def begin_step(self) -> None:
        """Let the key encoder follow; all processes start with the statistics of the first."""
        copy_buffers_of_rank_0(self.query_encoder, self.key_encoder)
        super().begin_step()
        self._new_keys.clear()

    def finish_step(self, finite: Tensor) -> dict[str, Tensor | float]:
        """Put the keys of all processes into the queue, rank by rank."""
        keys = gathered(torch.cat(self._new_keys))
        self.queue.push(keys, counts=finite)
        self._new_keys.clear()
        figures = self.queue.figures(self.step, len(keys), self.momentum)
        return {**super().finish_step(finite), **figures}

    def uniform_loss(self) -> float:
        """Ln(1 + K)."""
        return queue_uniform(self.queue.keys.shape[2])

    def schedule(self, cfg: CfgNode, place: Place) -> StepSettings:
        """A cosine by whole epochs; the momentum is constant."""
        solver = cfg.SOLVER
        lr = epoch_cosine(place.epoch, place.num_steps // place.per_epoch, solver.BASE_LR)
        return StepSettings(lr, cfg.MOCO.MOMENTUM)

    def rate_in_words(self, cfg: CfgNode) -> str:
        """How the learning rate comes about, for the log."""
        return (
            f"SOLVER.BASE_LR {cfg.SOLVER.BASE_LR:g}, whatever the batch, then a cosine by epochs "
            "to 0, without warm-up"
        )
