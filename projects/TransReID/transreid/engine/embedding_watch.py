"""Notices an embedding that collapses: images of all identities at one place.

The triplet loss has a saddle where all features are equal. From random weights hard mining, which
looks at the farthest positive and the nearest negative alone, pulls every feature there: the loss
stays at ln 2 (soft margin) or at the margin, and cosines between identities are nearly 1. The ID
loss still learns, so that a ranking is better than chance and nobody notices.

Source of that: Hermans et al., "In Defense of the Triplet Loss for Person Re-Identification", 2017,
section 3.3 and the appendix on collapsed trainings.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from fastreid.config import CfgNode
from fastreid.engine import DefaultTrainer
from fastreid.engine.train_loop import HookBase
from torch import Tensor

logger = logging.getLogger(__name__)

PERIOD = 20  # iterations; a look costs one product of the batch's features with themselves
COSINE, TRIPLET = 0.98, 0.97  # above both: collapsed
REMEDY = (
    "Set MODEL.LOSSES.TRI.HARD_MINING False, as in the small_*.yml and ToyReID's configs, or start "
    "from pre-trained weights (MODEL.BACKBONE.PRETRAIN_PATH), and train again in another OUTPUT_DIR"
)


def identity_cosine(features: Tensor, targets: Tensor) -> Tensor:
    """Mean cosine between features (B, D) of different identities, targets (B,), on their device.

    Returns:
        Scalar, -1..1; 0 if there is one identity only.
    """
    unit = F.normalize(features.detach().float())
    others = targets[:, None] != targets
    return (unit @ unit.T * others).sum() / others.sum().clamp(min=1)


def loss_of_equal_features(cfg: CfgNode) -> float:
    """Triplet loss, as it is logged, of features that are all equal; 0 without a triplet loss."""
    losses = cfg.MODEL.LOSSES
    if "TripletLoss" not in losses.NAME:
        return 0.0
    value = losses.TRI.MARGIN if losses.TRI.MARGIN > 0 else math.log(2)
    return float(value * losses.TRI.SCALE * losses.GLOBAL_WEIGHT)


class EmbeddingWatch(HookBase):
    """Writes ``identity_cosine`` and ``triplet_of_collapse`` into the metrics, and warns once.

    The second is the triplet loss as a multiple of that of equal features. Both are means over an
    epoch when they are judged, after the warm-up.
    """

    def __init__(self, cfg: CfgNode) -> None:
        self._equal = loss_of_equal_features(cfg)
        self._solver = cfg.SOLVER
        self._found: Tensor | None = None
        self._metrics: dict[str, float] = {}
        self._epoch: list[dict[str, float]] = []
        self._warned = False

    def before_train(self) -> None:
        """Listen to the head."""
        model = self.trainer.model
        heads = getattr(model, "module", model).heads
        self._handle = heads.register_forward_hook(self._look)

    def after_train(self) -> None:
        """Listen no more."""
        self._handle.remove()

    def _look(self, heads: Any, inputs: tuple[Any, ...], outputs: Any) -> None:
        if self.trainer.iter % PERIOD == 0 and len(inputs) > 1 and "features" in outputs:
            self._found = identity_cosine(outputs["features"], inputs[1])

    def after_step(self) -> None:
        """Take up what was seen in the step before this one, which the device has done by now."""
        if self.trainer.iter % PERIOD == 1 and self._found is not None:
            self._metrics = {"identity_cosine": float(self._found)}
            latest = self.trainer.storage.latest().get("loss_triplet")
            if self._equal and latest is not None:
                self._metrics["triplet_of_collapse"] = latest[0] / self._equal
            self._epoch.append(self._metrics)
        for name, value in self._metrics.items():
            self.trainer.storage.put_scalar(name, value)

    def after_epoch(self) -> None:
        """Judge the epoch, if the warm-up is over."""
        trainer, epoch = self.trainer, self._epoch
        self._epoch = []
        iters = trainer.iter - trainer.iters_per_epoch
        warm = trainer.epoch >= self._solver.WARMUP_EPOCHS and iters >= self._solver.WARMUP_ITERS
        if self._warned or not warm or not epoch:
            return
        means = {
            name: sum(found.get(name, 1.0) for found in epoch) / len(epoch)
            for name in ("identity_cosine", "triplet_of_collapse")
        }
        if means["identity_cosine"] > COSINE and means["triplet_of_collapse"] > TRIPLET:
            self._warned = True
            text = f"the mean cosine of different identities is {means['identity_cosine']:.4f}"
            if self._equal:
                ratio = means["triplet_of_collapse"]
                text += f", the triplet loss {ratio:.2f} of that of equal features"
            logger.warning("The embedding has collapsed: %s. %s", text, REMEDY)


class TransReIDTrainer(DefaultTrainer):
    """FastReID's trainer with the watch, for MODEL.META_ARCHITECTURE TransReID."""

    def build_hooks(self) -> Sequence[HookBase]:
        """FastReID's hooks, after the watch, whose metrics they write."""
        return [EmbeddingWatch(self.cfg), *super().build_hooks()]
