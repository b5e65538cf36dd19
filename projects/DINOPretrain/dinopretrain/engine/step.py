"""One step of pre-training, in the place of FastReID's SimpleTrainer and AMPTrainer.

What these cannot do: a batch goes through the model in pieces, gradients are clipped for each
parameter on its own after they are unscaled, the last layer's are dropped in the first epochs, and
a step whose loss or gradient is not finite is skipped and counted instead of ending the run. When
the momentum encoder moves, and queues are filled, is for the method to say
(:class:`~dinopretrain.modeling.method.PretrainingMethod`).
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
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from ..data.bad_images import BadImages
from .clipping import clip_each, clip_together
from .pieces import pieces

logger = logging.getLogger(__name__)

MAX_SKIPPED_IN_A_ROW = 10


class PretrainStep(SimpleTrainer):
    """Runs the steps of :class:`~dinopretrain.engine.trainer.PretrainTrainer`.

    Args:
        simple: the trainer that it replaces, whose model (a method's meta-architecture, or
            DistributedDataParallel around it), data and optimizer it takes over.
        dtype: of autocast; None for float32.
        clip: greatest norm of each gradient, or of all where the method says so; 0 for none.
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
            self.method.device.type, enabled=dtype is torch.float16
        )
        self.freeze_last_layer = False  # set each step by the schedules
        self.bad_images: BadImages | None = None  # set by BadImagesHook
        self.finite = torch.tensor(True)  # whether the last step was; on the device
        self._skipped_in_a_row = self._skipped_in_all = 0
        fused.use_fused(self.optimizer, ("cuda", "cpu"))

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
    def method(self) -> Any:
        """The meta-architecture, out of DistributedDataParallel."""
        return getattr(self.model, "module", self.model)

    def run_step(self) -> None:
        """Forward and backward pass of each piece; clip, step; what the method does between.

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
        self.method.begin_step()
        self.optimizer.zero_grad(set_to_none=True)
        # Statistics of BatchNorm move in the forward pass; a step that is skipped takes that back.
        buffers = [(b, b.clone()) for b in self.method.moving_buffers()]
        losses = self._accumulate(data)
        judged = self._averaged({**self._clipped(), **losses})
        self.finite = torch.stack([value.isfinite() for value in judged.values()]).all()
        for buffer, before in buffers:
            buffer.copy_(torch.where(self.finite, buffer, before))
        scale = self._scale()
        self._step_if_finite()
        statistics = self.method.finish_step(self.finite)
        images = len(data["global_views"]) * comm.get_world_size()
        of_device = {k: v for k, v in statistics.items() if isinstance(v, Tensor)}
        known = {
            **{k: v for k, v in statistics.items() if k not in of_device},
            "data_time": data_time,
            "images_per_second": images / max(time.perf_counter() - start, 1e-9),
        }
        values = {"scale": scale, **judged, **of_device}
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
            metrics = {name: values[name] for name in judged}
            self._count_skipped(metrics, losses, scale, iteration)
            return
        self._skipped_in_a_row = 0
        known["total_loss"] = sum(values[name] for name in losses)
        for name, value in {**values, **known, **self.method.figures(values)}.items():
            put_at(storage, name, value, iteration)

    def _scale(self) -> Tensor:
        """The gradient scaler's factor of this step, on the device; 1 without a scaler."""
        scale = self.grad_scaler._scale if self.grad_scaler.is_enabled() else None
        return torch.ones_like(self.finite, dtype=torch.float32) if scale is None else scale.clone()

    def _step_if_finite(self) -> None:
        """Let the optimizer step, or the device skip it."""
        optimizer: Any = self.optimizer
        if getattr(optimizer, "_step_supports_amp_scaling", False):
            optimizer.grad_scale, optimizer.found_inf = None, 1 - self.finite.float()
            optimizer.step()
            del optimizer.grad_scale, optimizer.found_inf
        elif self.finite:  # of another optimizer the host has to know
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
                    self.method.device.type, dtype=self.dtype, enabled=self.dtype is not None
                ):
                    losses = self.model(piece)
                weighted = {name: share * loss for name, loss in losses.items()}
                self.grad_scaler.scale(sum(weighted.values())).backward()
            for name, loss in weighted.items():
                total[name] = total.get(name, 0) + loss.detach()
        return total

    def _clipped(self) -> dict[str, Tensor]:
        """Unscale and clip the gradients; returns their norm, and what else of them, before."""
        if self.freeze_last_layer:
            for name, parameter in self.method.trained.head.named_parameters():
                if name.startswith("last_layer"):
                    parameter.grad = None
        self.grad_scaler.unscale_(self.optimizer)
        figures = self.method.gradient_figures()
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        clip = clip_together if self.method.clips_together else clip_each
        return {"grad_norm": clip(parameters, self.clip), **figures}

    def _averaged(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        """Means over all processes, so that all of them come to the same decision."""
        numbers = torch.stack([value.detach().float() for value in values.values()])
        if comm.get_world_size() > 1:
            torch.distributed.all_reduce(numbers)
            numbers /= comm.get_world_size()
        return dict(zip(values, numbers.unbind(), strict=True))

    def _count_skipped(
        self, metrics: dict[str, float], losses: list[str], scale: float, iteration: int
    ) -> None:
        """Log a skipped step; end the run if that never ends."""
        numbers = ", ".join(f"{name} {value}" for name, value in metrics.items())
        # In float16 gradients overflow until the scaler, which halves its scale, has found one.
        if scale <= 1 or not all(math.isfinite(metrics[name]) for name in losses):
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


DINOStep = PretrainStep  # its name before there were other methods
