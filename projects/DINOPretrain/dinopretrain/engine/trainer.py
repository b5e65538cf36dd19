"""FastReID's trainer for pre-training: what differs is data, optimizer, schedules and averages.

The same for all methods; what these differ in they say themselves, see
:class:`~dinopretrain.modeling.method.PretrainingMethod`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import Any

import torch
from fastreid.config import CfgNode
from fastreid.engine import DefaultTrainer
from fastreid.engine.train_loop import HookBase
from fastreid.utils import comm
from fastreid_compat.repairs.checkpoints.checkpoint_files import AtomicPathManager
from reid_common.errors import UserError
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..config import check_dino_config
from ..data.bad_images import BadImagesHook
from ..data.loader import build_pretraining_loader
from ..methods import BACKBONE_FILES, backbone_file
from ..modeling.method import Place
from .step import PretrainStep
from .watch import CollapseWatch

logger = logging.getLogger(__name__)

TEACHER_FILE = BACKBONE_FILES["DINO"]


def compared_in_pieces(cfg: CfgNode, method: nn.Module, share: int) -> list[str]:
    """What compares images, and sees a piece of a process's ``share`` of a batch at a time."""
    if not 0 < cfg.DINO.MICRO_BATCH < share:
        return []
    norms = any(isinstance(module, _BatchNorm) for module in method.modules())
    found = {"BatchNorm has its statistics from": norms, "KoLeo compares": cfg.DINO.KOLEO_WEIGHT}
    return [what for what, there in found.items() if there]


class Schedules(HookBase):
    """Sets everything that changes from step to step, as the method says it."""

    def __init__(self, cfg: CfgNode) -> None:
        self.cfg = cfg
        self.momentum = 1.0

    def before_train(self) -> None:
        """Log the scaled learning rate and how a batch is shared out."""
        cfg, batch = self.cfg, self.cfg.SOLVER.IMS_PER_BATCH
        logger.info(f"Learning rate: {self.trainer._trainer.method.rate_in_words(cfg)}")
        processes = comm.get_world_size()
        share = batch // processes
        logger.info(
            f"Step: {batch} images, {share} in each of {processes} process(es), "
            f"{min(cfg.DINO.MICRO_BATCH or share, share)} at a time (DINO.MICRO_BATCH)"
        )
        if parts := compared_in_pieces(cfg, self.trainer._trainer.method, share):
            logger.warning(
                f"DINO.MICRO_BATCH {cfg.DINO.MICRO_BATCH}: {' and '.join(parts)} that many images "
                f"instead of {share}, which is not the method of the whole batch; 0 is"
            )

    def before_step(self) -> None:
        """Learning rate, weight decay, momentum, frozen last layer; the method's own besides."""
        trainer = self.trainer
        method, groups = trainer._trainer.method, trainer.optimizer.param_groups
        place = Place(trainer.iter, trainer.max_iter, trainer.iters_per_epoch)
        settings = method.schedule(self.cfg, place)
        for group in groups:
            group["lr"] = settings.lr
        if settings.weight_decay is not None:
            groups[0]["weight_decay"] = settings.weight_decay
        self.momentum = method.momentum = settings.momentum
        method.step = place.step
        trainer._trainer.freeze_last_layer = settings.freeze_last_layer
        trainer.storage.put_scalars(
            weight_decay=groups[0]["weight_decay"],
            ema_momentum=self.momentum,
            smoothing_hint=False,
        )

    def after_step(self) -> None:
        """What the method does at the end of a step; nothing of one that was skipped."""
        self.trainer._trainer.method.after_step(self.trainer._trainer.finite)


class BackboneExport(HookBase):
    """Writes the backbone with every checkpoint, for MODEL.BACKBONE.PRETRAIN_PATH."""

    def __init__(self, path: str, period: int) -> None:
        self.path, self.period = path, period

    def after_epoch(self) -> None:
        """Write at the end of every period and of the run."""
        epoch = self.trainer.epoch + 1
        if epoch % self.period == 0 or epoch == self.trainer.max_epoch:
            with AtomicPathManager.open(self.path, "wb") as file:
                torch.save(self.trainer.method.exported_state(), file)


class PretrainTrainer(DefaultTrainer):
    """Pre-trains MODEL.BACKBONE on the images of DATASETS.NAMES, labels or none."""

    def __init__(self, cfg: CfgNode) -> None:
        check_dino_config(cfg)
        super().__init__(cfg)
        simple: Any = self._trainer
        dtype = simple.dtype if cfg.SOLVER.AMP.ENABLED else None
        settings = {"clip": self.method.clip_norm(cfg), "micro_batch": cfg.DINO.MICRO_BATCH}
        self._trainer: Any = PretrainStep(simple, dtype=dtype, **settings)
        self.checkpointer.checkpointables.pop("grad_scaler", None)
        if self._trainer.grad_scaler.is_enabled():
            self.checkpointer.checkpointables["grad_scaler"] = self._trainer.grad_scaler

    @property
    def method(self) -> Any:
        """The meta-architecture, out of DistributedDataParallel."""
        return getattr(self.model, "module", self.model)

    dino = method  # its name before there were other methods

    @classmethod
    def build_train_loader(cls, cfg: CfgNode) -> Any:
        """Loader of views, see :func:`dinopretrain.data.loader.build_pretraining_loader`."""
        return build_pretraining_loader(cfg)

    @classmethod
    def build_optimizer(cls, cfg: CfgNode, model: nn.Module) -> tuple[torch.optim.Optimizer, None]:
        """The method's; learning rate and decay are set in each step."""
        method: Any = model
        return method.build_optimizer(cfg), None

    @classmethod
    def build_lr_scheduler(
        cls, cfg: CfgNode, optimizer: torch.optim.Optimizer, iters_per_epoch: int
    ) -> dict[str, Any]:
        """None of FastReID's: :class:`Schedules` sets the rates.

        Raises:
            UserError: fewer images than a batch.
        """
        if iters_per_epoch < 1:
            raise UserError(
                f"{', '.join(cfg.DATASETS.NAMES)} has fewer images than one batch, "
                f"SOLVER.IMS_PER_BATCH = {cfg.SOLVER.IMS_PER_BATCH}; lower it or use a larger set"
            )
        return {"lr_sched": torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 1.0)}

    def build_hooks(self) -> Sequence[HookBase]:
        """FastReID's hooks, after those of pre-training."""
        cfg = self.cfg
        own: list[HookBase] = [
            Schedules(cfg),
            CollapseWatch(self.method, cfg.DINO.STOP_ON_COLLAPSE, cfg.DINO.COLLAPSE_GRACE),
            BadImagesHook(cfg.OUTPUT_DIR, cfg.DINO.MAX_BAD_IMAGES),
        ]
        if comm.is_main_process():
            path = os.path.join(cfg.OUTPUT_DIR, backbone_file(cfg))
            own.append(BackboneExport(path, cfg.SOLVER.CHECKPOINT_PERIOD))
        return [*own, *super().build_hooks()]


DINOTrainer = PretrainTrainer  # its name before there were other methods
