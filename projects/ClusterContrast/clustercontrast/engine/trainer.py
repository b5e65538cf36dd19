"""FastReID's trainer for cluster contrast: pseudo labels in each epoch, iterations of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from fastreid.config import CfgNode
from fastreid.engine import DefaultTrainer, hooks
from fastreid.engine.train_loop import HookBase

from ..config import check_cluster_config
from ..data.images import TrainingImages
from ..data.loading import WaitingLoader
from .epoch_hook import PseudoLabelHook
from .pseudo_labels import PseudoLabels, first_eps


class Checkpoints(hooks.PeriodicCheckpointer):
    """Writes checkpoints of which none is the best: no label chooses one."""

    def before_train(self) -> None:
        """As FastReID's, but looking for a metric that nobody writes."""
        super().before_train()
        self.metric_name = "no metric chooses the best checkpoint"


class ClusterContrastTrainer(DefaultTrainer):
    """Trains MODEL.BACKBONE on the images of DATASETS.NAMES, whose identities it does not read.

    An epoch has CLUSTER.ITERATIONS iterations.
    """

    def __init__(self, cfg: CfgNode) -> None:
        check_cluster_config(cfg)
        super().__init__(cfg)
        self.checkpointer.checkpointables["pseudo_labels"] = self.pseudo_labels

    @property
    def cluster_model(self) -> Any:
        """The meta-architecture, out of DistributedDataParallel."""
        return getattr(self.model, "module", self.model)

    @classmethod
    def build_train_loader(cls, cfg: CfgNode) -> Any:
        """A loader without batches: :class:`.epoch_hook.PseudoLabelHook` makes one an epoch."""
        return WaitingLoader(TrainingImages(cfg))

    @classmethod
    def build_lr_scheduler(
        cls, cfg: CfgNode, optimizer: torch.optim.Optimizer, iters_per_epoch: int
    ) -> dict[str, Any]:
        """FastReID's, for epochs of CLUSTER.ITERATIONS."""
        return super().build_lr_scheduler(cfg, optimizer, cfg.CLUSTER.ITERATIONS)

    def build_hooks(self) -> Sequence[HookBase]:
        """FastReID's hooks, after that of the pseudo labels."""
        cfg = self.cfg
        # The last that FastReID's constructor does; its own count is of images, not CLUSTER's.
        self.iters_per_epoch = cfg.CLUSTER.ITERATIONS
        self.max_iter = self.max_epoch * self.iters_per_epoch
        self.pseudo_labels = PseudoLabels(first_eps(cfg), lambda: self.cluster_model.memory.rows)
        images = self._trainer.data_loader.images
        found = [PseudoLabelHook(cfg, images, self.pseudo_labels), *super().build_hooks()]
        if cfg.CLUSTER.BEST_BY == "test":
            return found
        return [self._without_best(hook) for hook in found]

    def _without_best(self, hook: HookBase) -> HookBase:
        if not isinstance(hook, hooks.PeriodicCheckpointer):
            return hook
        return Checkpoints(self.checkpointer, hook.period)
