"""FastReID's trainer for DINO: what differs is data, optimizer groups, schedules and the EMA."""

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
from fastreid_compat.repairs.training.mixed_precision import amp_dtype
from reid_common.errors import UserError
from torch import nn

from ..config import check_dino_config
from ..data.bad_images import BadImagesHook
from ..data.loader import build_pretraining_loader
from ..solver.parameter_groups import parameter_groups
from ..solver.schedules import cosine_with_warmup, teacher_temperature
from .step import DINOStep
from .watch import CollapseWatch

logger = logging.getLogger(__name__)

TEACHER_FILE = "teacher_backbone.pth"


class Schedules(HookBase):
    """Sets everything that changes from step to step, and moves the teacher after each."""

    def __init__(self, cfg: CfgNode) -> None:
        self.solver, self.options = cfg.SOLVER, cfg.DINO
        self.peak_rate = cfg.SOLVER.BASE_LR * cfg.SOLVER.IMS_PER_BATCH / 256

    def before_train(self) -> None:
        """Log the scaled learning rate and how a batch is shared out."""
        solver, options, batch = self.solver, self.options, self.solver.IMS_PER_BATCH
        logger.info(
            f"Learning rate: SOLVER.BASE_LR {solver.BASE_LR:g} x batch {batch} / 256 = "
            f"{self.peak_rate:g} after {solver.WARMUP_EPOCHS} epochs of warm-up, then a cosine to "
            f"{options.MIN_LR:g}"
        )
        processes = comm.get_world_size()
        share = batch // processes
        logger.info(
            f"Step: {batch} images, {share} in each of {processes} process(es), "
            f"{min(options.MICRO_BATCH or share, share)} at a time (DINO.MICRO_BATCH)"
        )

    def before_step(self) -> None:
        """Learning rate, weight decay, teacher temperature, frozen last layer."""
        trainer, solver, options = self.trainer, self.solver, self.options
        place, per_epoch = (trainer.iter, trainer.max_iter), trainer.iters_per_epoch
        warmup = solver.WARMUP_EPOCHS * per_epoch
        lr = cosine_with_warmup(*place, self.peak_rate, options.MIN_LR, warmup)
        decay = cosine_with_warmup(*place, solver.WEIGHT_DECAY, options.WEIGHT_DECAY_END)
        self.momentum = cosine_with_warmup(*place, options.MOMENTUM, 1.0)
        decayed, plain = trainer.optimizer.param_groups
        decayed["lr"] = plain["lr"] = lr
        decayed["weight_decay"] = decay
        epoch = trainer.iter // per_epoch
        temperatures = options.WARMUP_TEACHER_TEMP, options.TEACHER_TEMP
        trainer.dino.teacher_temp = teacher_temperature(
            epoch, *temperatures, options.WARMUP_TEACHER_TEMP_EPOCHS
        )
        trainer._trainer.freeze_last_layer = epoch < options.FREEZE_LAST_LAYER
        trainer.storage.put_scalars(
            weight_decay=decay, ema_momentum=self.momentum, smoothing_hint=False
        )

    def after_step(self) -> None:
        """Exponential moving average of the student; nothing after a step that was skipped."""
        self.trainer.dino.update_teacher(self.momentum, self.trainer._trainer.finite)


class TeacherExport(HookBase):
    """Writes the teacher's backbone with every checkpoint, for MODEL.BACKBONE.PRETRAIN_PATH."""

    def __init__(self, folder: str, period: int) -> None:
        self.folder, self.period = folder, period

    def after_epoch(self) -> None:
        """Write at the end of every period and of the run."""
        epoch = self.trainer.epoch + 1
        if epoch % self.period == 0 or epoch == self.trainer.max_epoch:
            state = self.trainer.dino.teacher.backbone.state_dict()
            with AtomicPathManager.open(os.path.join(self.folder, TEACHER_FILE), "wb") as file:
                torch.save({key: value.cpu() for key, value in state.items()}, file)


class DINOTrainer(DefaultTrainer):
    """Pre-trains MODEL.BACKBONE on the images of DATASETS.NAMES, labels or none."""

    def __init__(self, cfg: CfgNode) -> None:
        check_dino_config(cfg)
        super().__init__(cfg)
        amp = cfg.SOLVER.AMP
        dtype = amp_dtype(amp.DTYPE, self.dino.device.type) if amp.ENABLED else None
        simple: Any = self._trainer
        settings = {"clip": cfg.DINO.CLIP_GRADIENT, "micro_batch": cfg.DINO.MICRO_BATCH}
        self._trainer: Any = DINOStep(simple, dtype=dtype, **settings)
        self.checkpointer.checkpointables.pop("grad_scaler", None)
        if self._trainer.grad_scaler.is_enabled():
            self.checkpointer.checkpointables["grad_scaler"] = self._trainer.grad_scaler

    @property
    def dino(self) -> Any:
        """The meta-architecture, out of DistributedDataParallel."""
        return getattr(self.model, "module", self.model)

    @classmethod
    def build_train_loader(cls, cfg: CfgNode) -> Any:
        """Loader of views, see :func:`dinopretrain.data.loader.build_pretraining_loader`."""
        return build_pretraining_loader(cfg)

    @classmethod
    def build_optimizer(cls, cfg: CfgNode, model: nn.Module) -> tuple[torch.optim.Optimizer, None]:
        """AdamW over the student; learning rate and decay are set in each step."""
        student: Any = model.student
        groups = parameter_groups(student, cfg.SOLVER.WEIGHT_DECAY)
        return torch.optim.AdamW(groups, lr=0.0), None

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
        """FastReID's hooks, after those of DINO."""
        cfg = self.cfg
        own: list[HookBase] = [
            Schedules(cfg),
            CollapseWatch(cfg.DINO.OUT_DIM, cfg.DINO.STOP_ON_COLLAPSE, cfg.DINO.COLLAPSE_GRACE),
            BadImagesHook(cfg.OUTPUT_DIR, cfg.DINO.MAX_BAD_IMAGES),
        ]
        if comm.is_main_process():
            own.append(TeacherExport(cfg.OUTPUT_DIR, cfg.SOLVER.CHECKPOINT_PERIOD))
        return [*own, *super().build_hooks()]
