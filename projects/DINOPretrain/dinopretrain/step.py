"""One training step of DINO, in the place of FastReID's SimpleTrainer and AMPTrainer.

What these cannot do: gradients are clipped for each parameter on its own after they are unscaled,
the last layer's are dropped in the first epochs, and a step without a finite loss is skipped and
counted instead of ending the run.
"""

from __future__ import annotations

import logging
import time
from typing import Any

import torch
from fastreid.engine.train_loop import SimpleTrainer, TrainerBase
from fastreid.utils import comm
from fastreid.utils.events import get_event_storage
from fastreid_compat.errors import UserError
from torch import Tensor, nn

from .data.bad_images import BadImages

logger = logging.getLogger(__name__)

MAX_SKIPPED_IN_A_ROW = 10


@torch.no_grad()
def clip_each(parameters: list[nn.Parameter], max_norm: float) -> Tensor:
    """Scale each gradient down to the norm ``max_norm`` on its own, in place.

    Args:
        parameters: those without a gradient are left out.
        max_norm: 0 clips nothing.

    Returns:
        Norm of all gradients together, before; 0-dimensional.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    norms = torch._foreach_norm(gradients)
    if max_norm > 0:
        # As torch.nn.utils.clip_grad_norm_ and the released code.
        factors = [(max_norm / (norm + 1e-6)).clamp(max=1.0) for norm in norms]
        torch._foreach_mul_(gradients, factors)
    return torch.linalg.vector_norm(torch.stack(norms))


class DINOStep(SimpleTrainer):
    """Runs the steps of :class:`~dinopretrain.trainer.DINOTrainer`.

    Args:
        simple: the trainer that it replaces, whose model (the DINO meta-architecture, or
            DistributedDataParallel around it), data and optimizer it takes over.
        dtype: of autocast; None for float32.
        clip: greatest norm of each gradient, 0 for none.
    """

    def __init__(self, simple: SimpleTrainer, *, dtype: torch.dtype | None, clip: float) -> None:
        # Not SimpleTrainer's own, which would start the loader's workers a second time.
        TrainerBase.__init__(self)
        self.model, self.optimizer = simple.model, simple.optimizer
        self.data_loader, self._data_loader_iter = simple.data_loader, simple._data_loader_iter
        self.param_wrapper = None
        self.dtype, self.clip = dtype, clip
        self.grad_scaler = torch.amp.GradScaler(
            self._module.device.type, enabled=dtype is torch.float16
        )
        self.freeze_last_layer = False  # set each step by the schedules
        self.bad_images: BadImages | None = None  # set by BadImagesHook
        self.skipped = 0  # steps without a finite loss, in a row
        self.skipped_in_all = 0

    @property
    def _module(self) -> Any:
        return getattr(self.model, "module", self.model)

    def run_step(self) -> None:
        """Forward, backward, clip, step.

        Raises:
            UserError: more than 10 steps in a row had no finite loss.
        """
        start = time.perf_counter()
        data = next(self._data_loader_iter)
        data_time = time.perf_counter() - start
        if self.bad_images is not None:
            self.bad_images.add(data["bad"], len(data["index"]))
        device = self._module.device.type
        with torch.autocast(device, dtype=self.dtype, enabled=self.dtype is not None):
            losses = self.model(data)
        loss = sum(losses.values())
        self.optimizer.zero_grad(set_to_none=True)
        finite = self._finite_everywhere(loss)
        # Also where it is not finite: all processes wait for one another in the backward pass.
        self.grad_scaler.scale(loss).backward()
        if not finite:
            self._skip(loss)
            return
        self.skipped = 0
        self.grad_scaler.unscale_(self.optimizer)
        if self.freeze_last_layer:
            for parameter in self._module.student.head.last_layer.parameters():
                parameter.grad = None
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        norm = clip_each(parameters, self.clip)
        self._write(losses, data_time, norm, len(data["global_views"]), start)
        self.grad_scaler.step(self.optimizer)
        self.grad_scaler.update()

    def _finite_everywhere(self, loss: Tensor) -> bool:
        finite = torch.isfinite(loss.detach()).float()
        if comm.get_world_size() > 1:
            torch.distributed.all_reduce(finite, op=torch.distributed.ReduceOp.MIN)
        return bool(finite.item())

    def _skip(self, loss: Tensor) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        self.skipped += 1
        self.skipped_in_all += 1
        logger.warning(
            "The loss of iteration %d is %s: step skipped (%d in a row, %d in all)",
            self.iter,
            float(loss),
            self.skipped,
            self.skipped_in_all,
        )
        if self.skipped > MAX_SKIPPED_IN_A_ROW:
            raise UserError(
                f"the loss was not finite in {self.skipped} steps in a row; the last checkpoint is "
                "from before. Continue from it with --resume and a lower SOLVER.BASE_LR, with "
                "SOLVER.AMP.DTYPE bf16 instead of fp16, or with a lower DINO.CLIP_GRADIENT"
            )

    def _write(
        self, losses: dict[str, Tensor], data_time: float, norm: Tensor, images: int, start: float
    ) -> None:
        values = {"grad_norm": norm, **losses}
        numbers = torch.stack([v.detach().float() for v in values.values()])
        if comm.get_world_size() > 1:
            torch.distributed.all_reduce(numbers)
            numbers /= comm.get_world_size()
        metrics = dict(zip(values, numbers.tolist(), strict=True))
        storage = get_event_storage()
        storage.put_scalars(
            data_time=data_time,
            grad_norm=metrics.pop("grad_norm"),
            total_loss=sum(metrics.values()),
            skipped_steps=self.skipped_in_all,
            images_per_second=images
            * comm.get_world_size()
            / max(time.perf_counter() - start, 1e-9),
        )
        storage.put_scalars(**metrics)
