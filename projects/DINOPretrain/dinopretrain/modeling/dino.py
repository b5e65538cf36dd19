"""DINO as a FastReID meta-architecture: a student learns what its own average says of other views.

Source: Caron et al., "Emerging Properties in Self-Supervised Vision Transformers", ICCV 2021,
algorithm 1; Luo et al., arXiv 2111.12084, for person images (views that are not square).

Letters: B images, G global views, L local views, V = G + L, D dimensions, K outputs.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from fastreid.config import CfgNode, configurable
from fastreid.modeling.backbones import build_backbone
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY
from reid_common.errors import UserError
from torch import Tensor, nn
from transreid.modeling.drop_path import blocks_to_compile

from ..losses.dino_loss import DINOLoss
from ..losses.koleo import koleo_loss
from ..losses.outputs import OutputSums
from .head import DINOHead


class Encoder(nn.Module):
    """A backbone, (B, 3, H, W) -> maps (B, D, h, w), and the projection head, (B, D) -> (B, K)."""

    def __init__(self, backbone: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head

    def features(self, images: Tensor) -> Tensor:
        """Features (B, D): [cls] of a ViT, the spatial mean of a CNN."""
        return self.backbone(images).mean((2, 3))

    def forward(self, *view_groups: Tensor) -> tuple[Tensor, Tensor]:
        """Features and logits of all views, each group (of one size) as one batch.

        Args:
            view_groups: images (n_i, 3, H_i, W_i).

        Returns:
            (sum n_i, D) and (sum n_i, K), in the order of the groups.
        """
        features = torch.cat([self.features(views) for views in view_groups])
        return features, self.head(features)


@META_ARCH_REGISTRY.register()
class DINO(nn.Module):
    """Student, teacher and loss. In training a batch of views gives the loss, else features.

    A step may be several forward passes, each on a piece of the batch; :meth:`finish_step` moves
    the centre after them. The teacher never gets a gradient: :meth:`update_teacher` is all that
    changes it. It and the loss's centre are part of the state dict.

    Args:
        student: backbone and head.
        teacher_backbone: backbone of the same architecture, without drop path; its parameters
            become copies of the student's.
        loss: with the centre.
        pixel_mean: of each channel, pixels 0..255.
        pixel_std: of each channel.
        koleo_weight: of the KoLeo term on the student's features of the global views; 0 for none.

    Attributes:
        teacher_temp: tau_t of the present epoch, set by the trainer.
        outputs: what the teacher said in the forward passes of this step.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    @configurable
    def __init__(
        self,
        *,
        student: Encoder,
        teacher_backbone: nn.Module,
        loss: DINOLoss,
        pixel_mean: list[float],
        pixel_std: list[float],
        koleo_weight: float = 0.0,
    ) -> None:
        super().__init__()
        self.student, self.loss, self.koleo_weight = student, loss, koleo_weight
        self.teacher = Encoder(teacher_backbone, copy.deepcopy(student.head))
        self.teacher.load_state_dict(student.state_dict())
        self.teacher.requires_grad_(False)
        for backbone in (student.backbone, teacher_backbone):
            vars(backbone)["any_size"] = True  # views of two sizes; CNNs take them anyway
        self.teacher_temp = 0.04
        self.outputs = OutputSums()
        for name, values in (("pixel_mean", pixel_mean), ("pixel_std", pixel_std)):
            self.register_buffer(name, torch.tensor(values).view(1, -1, 1, 1), persistent=False)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Constructor keywords from MODEL and DINO."""
        options = cfg.DINO
        backbone = build_backbone(cfg)
        teacher_cfg = cfg.clone()
        teacher_cfg.defrost()
        teacher_cfg.MODEL.BACKBONE.PRETRAIN = False
        teacher_cfg.MODEL.BACKBONE.DROP_PATH_RATIO = 0.0
        sizes = options.OUT_DIM, options.HIDDEN_DIM, options.BOTTLENECK_DIM
        head = DINOHead(cfg.MODEL.BACKBONE.FEAT_DIM, *sizes, options.NORM_LAST_LAYER)
        return {
            "student": Encoder(backbone, head),
            "teacher_backbone": build_backbone(teacher_cfg),
            "loss": DINOLoss(options.OUT_DIM, options.STUDENT_TEMP, options.CENTER_MOMENTUM),
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "koleo_weight": options.KOLEO_WEIGHT,
        }

    def parts_to_compile(self) -> list[nn.Module]:
        """Modules for MODEL.COMPILE: the blocks of both ViTs, or both CNNs, and both heads."""
        encoders, parts = (self.student, self.teacher), []
        for encoder in encoders:
            is_vit = hasattr(encoder.backbone, "blocks")
            parts += blocks_to_compile(encoder.backbone) if is_vit else [encoder.backbone]
        return [*parts, *(encoder.head for encoder in encoders)]

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.pixel_mean.device

    def forward(self, batch: dict[str, Any]) -> Any:
        """Losses of a batch of views in training; the teacher's features (B, D) of images else.

        Args:
            batch: in training "global_views" (B, G, H, W, 3) and "local_views" (B, L, h, w, 3),
                uint8 RGB; at test time "images" (B, 3, H, W), pixels 0..255.
        """
        if not self.training:
            images = batch["images"].to(self.device)
            return self.teacher.features((images - self.pixel_mean) / self.pixel_std)
        global_views = self.normalised(batch["global_views"])
        groups = [global_views]
        if batch["local_views"].shape[1]:
            groups.append(self.normalised(batch["local_views"]))
        num_images = len(batch["global_views"])
        with torch.no_grad():
            seen, teacher = self.teacher(global_views)
        features, logits = self.student(*groups)
        with torch.autocast(self.device.type, enabled=False):
            self.outputs.add(teacher, seen, self.loss.center, self.teacher_temp)
            teacher = teacher.unflatten(0, (-1, num_images))
            student = logits.unflatten(0, (-1, num_images))
            losses = {"loss_dino": self.loss(student, teacher, self.teacher_temp)}
            if self.koleo_weight:
                of_globals = features[: len(global_views)].unflatten(0, (-1, num_images))
                losses["loss_koleo"] = self.koleo_weight * koleo_loss(of_globals)
        return losses

    def finish_step(self, finite: Tensor) -> dict[str, Tensor]:
        """Move the centre after the losses of a step, one for each of its pieces.

        Args:
            finite: whether the step counts, a boolean on the device; else the centre stays.

        Returns:
            Statistics of the teacher's outputs, see :meth:`.outputs.OutputSums.reduced`.
        """
        mean, statistics = self.outputs.reduced(self.loss.center)
        self.loss.move_center(mean, finite)
        self.outputs.clear()
        return statistics

    def normalised(self, views: Tensor) -> Tensor:
        """Views (B, n, H, W, 3), uint8 -> (n * B, 3, H, W), view by view, normalised."""
        if views.dtype != torch.uint8 or views.dim() != 5:
            raise UserError(
                f"views are {tuple(views.shape)} {views.dtype}; DINO takes (B, n, H, W, 3) uint8"
            )
        images = views.to(self.device).transpose(0, 1).flatten(0, 1).permute(0, 3, 1, 2)
        return (images - self.pixel_mean) / self.pixel_std

    @torch.no_grad()
    def update_teacher(self, momentum: float, finite: Tensor | None = None) -> None:
        """Move the teacher towards the student: t <- momentum * t + (1 - momentum) * s.

        Where ``finite``, a boolean on the device, is False, the teacher stays.
        """
        teacher = [parameter.detach() for parameter in self.teacher.parameters()]
        student = [parameter.detach() for parameter in self.student.parameters()]
        if finite is None:
            torch._foreach_mul_(teacher, momentum)
            torch._foreach_add_(teacher, student, alpha=1 - momentum)
            return
        torch._foreach_mul_(teacher, torch.where(finite, momentum, 1.0))
        share = torch._foreach_mul(student, torch.where(finite, 1 - momentum, 0.0))
        torch._foreach_add_(teacher, share)
