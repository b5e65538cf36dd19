"""What a method of pre-training tells the trainer, and what all of them share.

A method has an encoder that is trained and another one, of the same architecture, that follows it
as a moving average and never gets a gradient. It says what differs: its losses, when the average
moves, optimizer, schedules, which of both encoders is handed on, and what a collapse looks like.

Letters: B images, n views of an image, N images of all processes.
"""

from __future__ import annotations

import copy
from typing import Any, ClassVar, NamedTuple

import torch
from fastreid.config import CfgNode
from fastreid.modeling.backbones import build_backbone
from reid_common.errors import UserError
from torch import Tensor, nn
from transreid.modeling.drop_path import blocks_to_compile

from .encoder import Encoder


class Place(NamedTuple):
    """Where a run is."""

    step: int  # 0-based iteration
    num_steps: int  # iterations of the run
    per_epoch: int  # iterations of an epoch

    @property
    def epoch(self) -> int:
        """0-based epoch."""
        return self.step // self.per_epoch


class StepSettings(NamedTuple):
    """What the schedules of a method say of a step."""

    lr: float
    momentum: float  # m of the average: k <- m k + (1 - m) q
    weight_decay: float | None = None  # of the first group of parameters; None leaves it
    freeze_last_layer: bool = False  # of the head


class PretrainingMethod(nn.Module):
    """Two encoders, and the views of a batch; the base of all methods.

    Attributes:
        momentum: of the moving average in this step, set by the trainer.
        step: its 0-based number, likewise.
    """

    clips_together: ClassVar[bool] = False  # gradients by their total norm, not one by one
    watched: ClassVar[tuple[str, ...]] = ()  # metrics that :meth:`collapse` judges
    pixel_mean: Tensor
    pixel_std: Tensor
    pixel_scale: Tensor  # 1 / std and -mean / std: one multiplication and addition a pixel
    pixel_shift: Tensor

    def __init__(self, pixel_mean: list[float], pixel_std: list[float]) -> None:
        super().__init__()
        self.momentum, self.step = 1.0, 0
        mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (pixel_mean, pixel_std))
        buffers = {"pixel_mean": mean, "pixel_std": std, "pixel_scale": 1 / std}
        for name, values in (*buffers.items(), ("pixel_shift", -mean / std)):
            self.register_buffer(name, values, persistent=False)

    # What a method says

    @property
    def trained(self) -> Encoder:
        """The encoder that is trained."""
        raise NotImplementedError

    @property
    def average(self) -> Encoder:
        """The encoder that follows it."""
        raise NotImplementedError

    @property
    def exported(self) -> Encoder:
        """The encoder whose backbone fine-tuning gets, and whose features are tested."""
        raise NotImplementedError

    def losses(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Losses of a batch of views, or of a piece of it, by name; their sum is trained."""
        raise NotImplementedError

    def begin_step(self) -> None:
        """Called before the first forward pass of a step."""

    def finish_step(self, finite: Tensor) -> dict[str, Tensor | float]:
        """Called after the optimizer; returns statistics of the step.

        Args:
            finite: whether the step counts, a boolean on the device; where not, the optimizer has
                skipped it, and nothing of the method moves.
        """
        return {}

    def after_step(self, finite: Tensor) -> None:
        """Called at the very end of a step, ``finite`` as in :meth:`finish_step`."""

    def schedule(self, cfg: CfgNode, place: Place) -> StepSettings:
        """Settings of a step; a method notes its own (temperatures) as attributes."""
        raise NotImplementedError

    def rate_in_words(self, cfg: CfgNode) -> str:
        """How the learning rate comes about, for the log."""
        raise NotImplementedError

    def build_optimizer(self, cfg: CfgNode) -> torch.optim.Optimizer:
        """The optimizer; rates and decay are set in each step."""
        raise NotImplementedError

    def clip_norm(self, cfg: CfgNode) -> float:
        """Greatest norm of a gradient, of each one or of all (:attr:`clips_together`); 0: none."""
        return 0.0

    def gradient_figures(self) -> dict[str, Tensor]:
        """Metrics of the gradients before clipping, 0-dimensional."""
        return {}

    def figures(self, metrics: dict[str, float]) -> dict[str, float]:
        """Further metrics of a step, from those that it has."""
        return {}

    def collapse(self, means: dict[str, float]) -> tuple[str, str] | None:
        """Kind of a collapse and what to do, from means of :attr:`watched` over some steps."""
        return None

    # What all methods share

    def parts_to_compile(self) -> list[nn.Module]:
        """Modules for MODEL.COMPILE: the blocks of both ViTs, or both CNNs, and both heads."""
        encoders, parts = (self.trained, self.average), []
        for encoder in encoders:
            is_vit = hasattr(encoder.backbone, "blocks")
            parts += blocks_to_compile(encoder.backbone) if is_vit else [encoder.backbone]
        return [*parts, *(encoder.head for encoder in encoders)]

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.pixel_mean.device

    def forward(self, batch: dict[str, Any]) -> Any:
        """Losses of a batch of views in training; features (B, D) of images else.

        Args:
            batch: in training "global_views" (B, G, H, W, 3) and "local_views" (B, L, h, w, 3),
                uint8 RGB, and what else :meth:`losses` reads; at test time "images"
                (B, 3, H, W), pixels 0..255.
        """
        if self.training:
            return self.losses(batch)
        images = batch["images"].to(self.device)
        return self.exported.features((images - self.pixel_mean) / self.pixel_std)

    def normalised(self, views: Tensor) -> Tensor:
        """Views (B, n, H, W, 3), uint8 -> (n * B, 3, H, W), view by view, normalised.

        One operator reads the bytes and writes the images, in the order of both.
        """
        if views.dtype != torch.uint8 or views.dim() != 5:
            raise UserError(
                f"views are {tuple(views.shape)} {views.dtype}; pre-training takes (B, n, H, W, 3) "
                "uint8"
            )
        views = views.to(self.device, non_blocking=True).transpose(0, 1)
        shift, scale = (x.view(-1) for x in (self.pixel_shift, self.pixel_scale))
        images = torch.addcmul(shift, views, scale, out=scale.new_empty(views.shape))
        return images.flatten(0, 1).permute(0, 3, 1, 2)

    def exported_state(self) -> dict[str, Tensor]:
        """State dict, on the CPU, for MODEL.BACKBONE.PRETRAIN_PATH."""
        return {key: value.cpu() for key, value in self.exported.backbone.state_dict().items()}

    def moving_buffers(self) -> list[Tensor]:
        """Buffers that a forward pass changes (BatchNorm's), which a skipped step puts back."""
        return [*self.trained.buffers(), *self.average.buffers()]

    @torch.no_grad()
    def move_average(self, momentum: float, finite: Tensor | None = None) -> None:
        """k <- momentum * k + (1 - momentum) * q, over the parameters that both encoders have.

        Where ``finite``, a boolean on the device, is False, the average stays.
        """
        online = dict(self.trained.named_parameters())
        pairs = [(p.detach(), online[name].detach()) for name, p in self.average.named_parameters()]
        follower, leader = ([pair[i] for pair in pairs] for i in (0, 1))
        # One arithmetic for both, or a resumed run would round in another way.
        finite = torch.ones((), device=self.device) if finite is None else finite
        share = finite.to(follower[0].dtype) * (1 - momentum)  # as exact as the parameters are
        torch._foreach_mul_(follower, 1 - share)
        torch._foreach_add_(follower, torch._foreach_mul(leader, share))


def average_of(trained: Encoder, backbone: nn.Module) -> Encoder:
    """Encoder that starts as a copy of another one, with ``backbone`` of the same architecture."""
    encoder = Encoder(backbone, copy.deepcopy(trained.head))
    encoder.load_state_dict(trained.state_dict())
    return encoder.requires_grad_(False)


def build_average_backbone(cfg: CfgNode) -> nn.Module:
    """Backbone of a config for the average: without drop path, or weights of its own."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.BACKBONE.PRETRAIN = False
    cfg.MODEL.BACKBONE.DROP_PATH_RATIO = 0.0
    return build_backbone(cfg)
