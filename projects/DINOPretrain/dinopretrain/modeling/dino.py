"""DINO as a FastReID meta-architecture: a student learns what its own average says of other views.

Source: Caron et al., "Emerging Properties in Self-Supervised Vision Transformers", ICCV 2021,
algorithm 1; Luo et al., arXiv 2111.12084, for person images (views that are not square).

Letters: B images, G global views, L local views, V = G + L, D dimensions, K outputs.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from fastreid.config import CfgNode, configurable
from fastreid.modeling.backbones import build_backbone
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY
from torch import Tensor, nn

from ..losses.collapse import REMEDIES, collapse_kind
from ..losses.dino_loss import DINOLoss
from ..losses.koleo import koleo_loss
from ..losses.outputs import OutputSums
from ..solver.parameter_groups import parameter_groups
from ..solver.schedules import cosine_with_warmup, teacher_temperature
from .encoder import Encoder
from .head import DINOHead
from .method import Place, PretrainingMethod, StepSettings, average_of, build_average_backbone


@META_ARCH_REGISTRY.register()
class DINO(PretrainingMethod):
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

    watched: ClassVar[tuple[str, ...]] = ("loss_dino", "teacher_entropy", "mean_entropy")

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
        super().__init__(pixel_mean, pixel_std)
        self.student, self.loss, self.koleo_weight = student, loss, koleo_weight
        self.teacher = average_of(student, teacher_backbone)
        for backbone in (student.backbone, teacher_backbone):
            vars(backbone)["any_size"] = True  # views of two sizes; CNNs take them anyway
        self.teacher_temp = 0.04
        self.outputs = OutputSums()

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Constructor keywords from MODEL and DINO."""
        options = cfg.DINO
        backbone = build_backbone(cfg)
        sizes = options.OUT_DIM, options.HIDDEN_DIM, options.BOTTLENECK_DIM
        head = DINOHead(cfg.MODEL.BACKBONE.FEAT_DIM, *sizes, options.NORM_LAST_LAYER)
        return {
            "student": Encoder(backbone, head),
            "teacher_backbone": build_average_backbone(cfg),
            "loss": DINOLoss(options.OUT_DIM, options.STUDENT_TEMP, options.CENTER_MOMENTUM),
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "koleo_weight": options.KOLEO_WEIGHT,
        }

    @property
    def trained(self) -> Encoder:
        """The student."""
        return self.student

    @property
    def average(self) -> Encoder:
        """The teacher."""
        return self.teacher

    @property
    def exported(self) -> Encoder:
        """The teacher, whose features are the better ones (section 5.2)."""
        return self.teacher

    def losses(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """The loss of all views, and KoLeo's."""
        global_views = self.normalised(batch["global_views"])
        groups = [global_views]
        if batch["local_views"].shape[1]:
            groups.append(self.normalised(batch["local_views"]))
        num_images = len(batch["global_views"])
        with torch.no_grad():
            seen, teacher = self.teacher(global_views)
        features, logits = self.student(*groups)
        with torch.autocast(self.device.type, enabled=False):
            teacher = teacher.unflatten(0, (-1, num_images))
            self.outputs.add(teacher, seen, self.loss.center, self.teacher_temp)
            student = logits.unflatten(0, (-1, num_images))
            losses = {"loss_dino": self.loss(student, teacher, self.temperature())}
            if self.koleo_weight:
                of_globals = features[: len(global_views)].unflatten(0, (-1, num_images))
                losses["loss_koleo"] = self.koleo_weight * koleo_loss(of_globals)
        return losses

    def temperature(self) -> Tensor:
        """tau_t on the device: a number would be compiled into the loss, anew in each epoch."""
        return torch.full((), self.teacher_temp, device=self.device)

    def parts_to_compile(self) -> list[nn.Module]:
        """Those of all methods, and the loss of [cls]."""
        return [*super().parts_to_compile(), self.loss]

    def begin_step(self) -> None:
        """Forget the outputs of the step before."""
        self.outputs.clear()

    def finish_step(self, finite: Tensor) -> dict[str, Tensor | float]:
        """Move the centre after the losses of a step, one for each of its pieces.

        Args:
            finite: whether the step counts, a boolean on the device; else the centre stays.

        Returns:
            Statistics of the teacher's outputs, see :meth:`.outputs.OutputSums.reduced`.
        """
        mean, statistics = self.outputs.reduced(self.loss.center)
        self.loss.move_center(mean, finite)
        self.outputs.clear()
        return {**statistics, "teacher_temp": self.teacher_temp}

    def after_step(self, finite: Tensor) -> None:
        """Move the teacher: after the optimizer, of the student's new weights."""
        self.update_teacher(self.momentum, finite)

    @torch.no_grad()
    def update_teacher(self, momentum: float, finite: Tensor | None = None) -> None:
        """Move the teacher towards the student: t <- momentum * t + (1 - momentum) * s."""
        self.move_average(momentum, finite)

    def schedule(self, cfg: CfgNode, place: Place) -> StepSettings:
        """Learning rate, weight decay and momentum by a cosine; the temperature by epochs."""
        solver, options = cfg.SOLVER, cfg.DINO
        now = place.step, place.num_steps
        temperatures = options.WARMUP_TEACHER_TEMP, options.TEACHER_TEMP
        self.teacher_temp = teacher_temperature(
            place.epoch, *temperatures, options.WARMUP_TEACHER_TEMP_EPOCHS
        )
        warmup = solver.WARMUP_EPOCHS * place.per_epoch
        return StepSettings(
            lr=cosine_with_warmup(*now, peak_rate(cfg), options.MIN_LR, warmup),
            momentum=cosine_with_warmup(*now, options.MOMENTUM, 1.0),
            weight_decay=cosine_with_warmup(*now, solver.WEIGHT_DECAY, options.WEIGHT_DECAY_END),
            freeze_last_layer=place.epoch < options.FREEZE_LAST_LAYER,
        )

    def rate_in_words(self, cfg: CfgNode) -> str:
        """How the learning rate comes about, for the log."""
        solver = cfg.SOLVER
        return (
            f"SOLVER.BASE_LR {solver.BASE_LR:g} x batch {solver.IMS_PER_BATCH} / 256 = "
            f"{peak_rate(cfg):g} after {solver.WARMUP_EPOCHS} epochs of warm-up, then a cosine to "
            f"{cfg.DINO.MIN_LR:g}"
        )

    def build_optimizer(self, cfg: CfgNode) -> torch.optim.Optimizer:
        """AdamW over the student."""
        groups = parameter_groups(self.student, cfg.SOLVER.WEIGHT_DECAY)
        return torch.optim.AdamW(groups, lr=0.0)

    def clip_norm(self, cfg: CfgNode) -> float:
        """Greatest norm of each gradient."""
        return cfg.DINO.CLIP_GRADIENT

    def figures(self, metrics: dict[str, float]) -> dict[str, float]:
        """Loss as a share of that of a uniform output."""
        return {"loss_over_ln_k": metrics["loss_dino"] / math.log(self.loss.center.shape[1])}

    def collapse(self, means: dict[str, float]) -> tuple[str, str] | None:
        """Uniform or one-hot outputs of the teacher, see :mod:`..losses.collapse`."""
        out_dim = self.loss.center.shape[1]
        entropies = means["teacher_entropy"], means["mean_entropy"]
        kind = collapse_kind(means["loss_dino"], *entropies, out_dim)
        if kind is None:
            return None
        return kind, f"{REMEDIES[kind]}; ln K is {math.log(out_dim):.3f}"


def peak_rate(cfg: CfgNode) -> float:
    """Learning rate at the end of the warm-up: linear in the batch."""
    return cfg.SOLVER.BASE_LR * cfg.SOLVER.IMS_PER_BATCH / 256
