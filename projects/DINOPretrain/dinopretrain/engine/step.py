"""One training step of DINO, in the place of FastReID's SimpleTrainer and AMPTrainer.

What these cannot do: a batch goes through the model in pieces, gradients are clipped for each
parameter on its own after they are unscaled, the last layer's are dropped in the first epochs, and
a step whose loss or gradient is not finite is skipped and counted instead of ending the run.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import time
from typing import Any

import torch
from fastreid.engine.train_loop import SimpleTrainer, TrainerBase
from fastreid.utils import comm
from fastreid.utils.events import EventStorage, get_event_storage
from fastreid_compat.repairs.training import fused
from fastreid_compat.repairs.training.metrics import (
    current_storage,
    put_at,
    read_later,
    read_metrics,
)
from reid_common.errors import UserError
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ..data.bad_images import BadImages

logger = logging.getLogger(__name__)

MAX_SKIPPED_IN_A_ROW = 10


def clip_each(parameters: list[nn.Parameter], max_norm: float) -> Tensor:
    """Scale each gradient down to the norm ``max_norm`` on its own, in place; 0 clips nothing.

    Returns:
        Norm of all gradients together, before; 0-dimensional.
    """
    return torch.linalg.vector_norm(fused.clip_each(parameters, max_norm))


def pieces(batch: dict[str, Any], size: int) -> list[dict[str, Tensor]]:
    """Cut the views of a batch, images first, into pieces of ``size`` images; 0 for one piece."""
    count = len(batch["global_views"])
    size = size or count
    return [
        {name: batch[name][first : first + size] for name in ("global_views", "local_views")}
        for first in range(0, count, size)
    ]


class DINOStep(SimpleTrainer):
    """Runs the steps of :class:`~dinopretrain.engine.trainer.DINOTrainer`.

    Args:
        simple: the trainer that it replaces, whose model (the DINO meta-architecture, or
            DistributedDataParallel around it), data and optimizer it takes over.
        dtype: of autocast; None for float32.
        clip: greatest norm of each gradient, 0 for none.
        micro_batch: images of one forward pass, 0 for all of the batch.
    """

    def __init__(
        self, simple: SimpleTrainer, *, dtype: torch.dtype | None, clip: float, micro_batch: int = 0
    ) -> None:
        # Not SimpleTrainer's own, which would start the loader's workers a second time.
        TrainerBase.__init__(self)
        self.model, self.optimizer = simple.model, simple.optimizer
        self.data_loader, self._data_loader_iter = simple.data_loader, simple._data_loader_iter
        self.param_wrapper = None
        self.dtype, self.clip, self.micro_batch = dtype, clip, micro_batch
        self.grad_scaler = torch.amp.GradScaler(
            self._module.device.type, enabled=dtype is torch.float16
        )
        self.freeze_last_layer = False  # set each step by the schedules
        self.bad_images: BadImages | None = None  # set by BadImagesHook
        self.finite = torch.tensor(True)  # whether the last step was; on the device
        self._skipped_in_a_row = self._skipped_in_all = 0
        self._fused = fused.use_fused(self.optimizer, ("cuda", "cpu"))

    @property
    def skipped(self) -> bool:
        """Whether the last step was skipped; waits for the device."""
        return not self.finite

    @property
    def skipped_in_all(self) -> int:
        """Steps skipped so far; waits for the device."""
        if (storage := current_storage()) is not None:
            read_metrics(storage)
        return self._skipped_in_all

    @property
    def _module(self) -> Any:
        return getattr(self.model, "module", self.model)

    def run_step(self) -> None:
        """Forward and backward pass of each piece; clip, step, move the centre.

        Nothing waits for the device: whether the step was finite, and all metrics, stay on it until
        metrics are read.

        Raises:
            UserError: more than 10 steps in a row had no finite loss or gradient; those in which
                float16's scaler looks for its scale do not count. Noticed when metrics are read.
        """
        start = time.perf_counter()
        data = next(self._data_loader_iter)
        data_time = time.perf_counter() - start
        if self.bad_images is not None:
            self.bad_images.add(data["bad"], len(data["index"]))
        self._module.outputs.clear()
        self.optimizer.zero_grad(set_to_none=True)
        # Statistics of BatchNorm move in the forward pass; a step that is skipped takes that back.
        encoders = (self._module.student, self._module.teacher)
        buffers = [(b, b.clone()) for encoder in encoders for b in encoder.buffers()]
        losses = self._accumulate(data)
        judged = self._averaged({"grad_norm": self._clipped(), **losses})
        self.finite = torch.stack([value.isfinite() for value in judged.values()]).all()
        for buffer, before in buffers:
            buffer.copy_(torch.where(self.finite, buffer, before))
        scale = self._scale()
        self._step_if_finite()
        statistics = self._module.finish_step(self.finite)
        images = len(data["global_views"]) * comm.get_world_size()
        known = {
            "teacher_temp": self._module.teacher_temp,
            "data_time": data_time,
            "images_per_second": images / max(time.perf_counter() - start, 1e-9),
        }
        values = {"scale": scale, **judged, **statistics}
        storage = get_event_storage()
        take = functools.partial(
            self._take, storage, list(values), list(judged), list(losses), known
        )
        read_later(storage, torch.stack([value.float() for value in values.values()]), take)

    def _take(
        self,
        storage: EventStorage,
        names: list[str],
        judged: list[str],
        losses: list[str],
        known: dict[str, float],
        numbers: list[float],
        iteration: int,
    ) -> None:
        """Put the metrics of a step, once they are read; or count it as skipped.

        Args:
            storage: where to.
            names: of the numbers.
            judged: those of them that are finite, or the device has skipped the step.
            losses: those that are losses.
            known: metrics that the host knew.
            numbers: of the step.
            iteration: of the step.
        """
        values = dict(zip(names, numbers, strict=True))
        scale = values.pop("scale")
        finite = all(math.isfinite(values[name]) for name in judged)
        self._skipped_in_all += not finite
        put_at(storage, "skipped_steps", self._skipped_in_all, iteration, smoothing_hint=False)
        if not finite:
            self._count_skipped({name: values[name] for name in judged}, scale, iteration)
            return
        self._skipped_in_a_row = 0
        known["total_loss"] = sum(values[name] for name in losses)
        known["loss_over_ln_k"] = values["loss_dino"] / math.log(self._module.loss.center.shape[1])
        for name, value in {**values, **known}.items():
            put_at(storage, name, value, iteration)

    def _scale(self) -> Tensor:
        """The gradient scaler's factor of this step, on the device; 1 without a scaler."""
        scale = self.grad_scaler._scale if self.grad_scaler.is_enabled() else None
        return torch.ones_like(self.finite, dtype=torch.float32) if scale is None else scale.clone()

    def _step_if_finite(self) -> None:
        """Let the optimizer step, or the device skip it."""
        optimizer: Any = self.optimizer
        if self._fused:
            optimizer.grad_scale, optimizer.found_inf = None, 1 - self.finite.float()
            optimizer.step()
            del optimizer.grad_scale, optimizer.found_inf
        elif self.finite:  # without a fused optimizer the host has to know
            optimizer.step()
        self.grad_scaler.update()

    def _accumulate(self, data: dict[str, Any]) -> dict[str, Tensor]:
        """Gradients of the mean loss over the batch, piece by piece; returns the losses.

        A piece that is not finite goes through the backward pass as well: all processes wait for
        one another there.
        """
        total: dict[str, Tensor] = {}
        parts = pieces(data, self.micro_batch)
        for number, piece in enumerate(parts, 1):
            share = len(piece["global_views"]) / len(data["global_views"])
            # Processes exchange gradients once, in the last piece's backward pass.
            alone = number < len(parts) and isinstance(self.model, DistributedDataParallel)
            with self.model.no_sync() if alone else contextlib.nullcontext():
                with torch.autocast(
                    self._module.device.type, dtype=self.dtype, enabled=self.dtype is not None
                ):
                    losses = self.model(piece)
                weighted = {name: share * loss for name, loss in losses.items()}
                self.grad_scaler.scale(sum(weighted.values())).backward()
            for name, loss in weighted.items():
                total[name] = total.get(name, 0) + loss.detach()
        return total

    def _clipped(self) -> Tensor:
        """Unscale and clip the gradients; returns their norm before clipping."""
        if self.freeze_last_layer:
            for parameter in self._module.student.head.last_layer.parameters():
                parameter.grad = None
        self.grad_scaler.unscale_(self.optimizer)
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        return clip_each(parameters, self.clip)

    def _averaged(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        """Means over all processes, so that all of them come to the same decision."""
        numbers = torch.stack([value.detach().float() for value in values.values()])
        if comm.get_world_size() > 1:
            torch.distributed.all_reduce(numbers)
            numbers /= comm.get_world_size()
        return dict(zip(values, numbers.unbind(), strict=True))

    def _count_skipped(self, metrics: dict[str, float], scale: float, iteration: int) -> None:
        """Log a skipped step; end the run if that never ends."""
        numbers = ", ".join(f"{name} {value}" for name, value in metrics.items())
        # In float16 gradients overflow until the scaler, which halves its scale, has found one.
        del metrics["grad_norm"]
        if scale <= 1 or not all(math.isfinite(loss) for loss in metrics.values()):
            self._skipped_in_a_row += 1
        text = "Iteration %d is not finite (%s, gradient scale %g): step skipped (%d in all)"
        logger.warning(text, iteration, numbers, scale, self._skipped_in_all)
        if self._skipped_in_a_row > MAX_SKIPPED_IN_A_ROW:
            raise UserError(
                f"loss or gradient was not finite in {self._skipped_in_a_row} steps in a row "
                f"({numbers}); the last checkpoint is from before. Continue from it with --resume "
                "and a lower SOLVER.BASE_LR, with SOLVER.AMP.DTYPE bf16 instead of fp16, or with a "
                "lower DINO.CLIP_GRADIENT"
            )
