"""iBOT: DINO, and the student says of hidden patches what the teacher, who sees them, says.

Source: Zhou et al., "iBOT: Image BERT Pre-Training with Online Tokenizer", ICLR 2022, section 3. A
hidden patch is one learnt vector in the place of its projection, before positions are added; the
student sees masked global views and whole local ones, the teacher whole global views.

Letters: B images, G global views, n = G B of them, P patches of a view, M hidden ones of all views,
K outputs of the head for [cls], K2 for patches.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
import torch
from fastreid.config import CfgNode, configurable
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY
from torch import Tensor, nn

from ..losses.collapse import REMEDIES, collapse_kind
from ..losses.koleo import koleo_loss
from ..losses.masked_patches import (
    HiddenPatches,
    PatchCenter,
    hidden_patches,
    masked_patch_loss,
)
from ..solver.schedules import teacher_temperature
from .dino import DINO
from .encoder import Encoder
from .head import IBOTHead
from .method import Place, StepSettings


@META_ARCH_REGISTRY.register()
class IBOT(DINO):
    """DINO with a second loss, on hidden patches.

    Args:
        patch_center: of the teacher's outputs for patches.
        weights: lambda 1 and 2, of the losses on [cls] and on patches.
        **dino: see :class:`DINO`; the head is an :class:`.head.IBOTHead`.

    Attributes:
        patch_temp: tau2 of the present epoch, set by the trainer.
        masking: whether patches are hidden in this epoch.
    """

    @configurable
    def __init__(
        self, *, patch_center: PatchCenter, weights: tuple[float, float] = (1.0, 1.0), **dino: Any
    ) -> None:
        super().__init__(**dino)
        self.patch_center, self.weights = patch_center, weights
        self.patch_temp, self.masking = 0.04, True
        # Only the student has it: behind super().__init__(), which makes the teacher a copy.
        backbone: Any = self.student.backbone
        backbone.masked_embed = nn.Parameter(torch.zeros(1, backbone.embed_dim))

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Constructor keywords from MODEL, DINO and IBOT."""
        options, dino = cfg.IBOT, cfg.DINO
        parts = DINO.from_config(cfg)
        patch_dim = dino.OUT_DIM if options.SHARED_HEAD else options.PATCH_OUT_DIM
        head = IBOTHead(
            cfg.MODEL.BACKBONE.FEAT_DIM,
            dino.OUT_DIM,
            dino.HIDDEN_DIM,
            dino.BOTTLENECK_DIM,
            dino.NORM_LAST_LAYER,
            patch_dim=None if options.SHARED_HEAD else patch_dim,
        )
        return {
            **parts,
            "student": Encoder(parts["student"].backbone, head),
            "patch_center": PatchCenter(patch_dim, options.CENTER_MOMENTUM),
            "weights": (options.CLS_WEIGHT, options.PATCH_WEIGHT),
        }

    def losses(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Losses of [cls] over all pairs of views, and of hidden patches within each view."""
        num_images, views = len(batch["global_views"]), self.normalised(batch["global_views"])
        hidden = self.hidden(batch["masks"])
        with torch.no_grad():
            seen, seen_patches = self.tokens(self.teacher, views)
            head: Any = self.teacher.head
            teacher, teacher_patches = head.of_both(seen, seen_patches.flatten(0, 1))
        features, patches = self.tokens(self.student, views, hidden.masks)
        tokens = [features]
        if batch["local_views"].shape[1]:
            tokens.append(self.student.features(self.normalised(batch["local_views"])))
        head = self.student.head
        logits, said = head.of_both(torch.cat(tokens), patches.flatten(0, 1)[hidden.places])
        with torch.autocast(self.device.type, enabled=False):
            teacher = teacher.unflatten(0, (-1, num_images))
            self.outputs.add(teacher, seen, self.loss.center, self.teacher_temp)
            teacher_hidden = teacher_patches[hidden.places]
            self.patch_center.add(teacher_patches, teacher_hidden, self.patch_temp)
            of_cls = self.loss(
                logits.unflatten(0, (-1, num_images)),
                teacher,
                self.temperature(),
            )
            temperatures = self.loss.student_temp, self.patch_temp
            of_patches = masked_patch_loss(
                said, teacher_hidden, hidden, self.patch_center.center, *temperatures
            )
            losses = {
                "loss_dino": self.weights[0] * of_cls,
                "loss_patch": self.weights[1] * of_patches,
            }
            if self.koleo_weight:
                of_globals = features.unflatten(0, (-1, num_images))
                losses["loss_koleo"] = self.koleo_weight * koleo_loss(of_globals)
        return losses

    def hidden(self, masks: Any) -> HiddenPatches:
        """Hidden patches, view by view, of the masks (B, G, rows, columns) of a batch."""
        drawn = np.asarray(masks).swapaxes(0, 1)
        drawn = drawn.reshape(-1, drawn.shape[2] * drawn.shape[3])  # (n, P)
        return hidden_patches(drawn if self.masking else np.zeros_like(drawn), self.device)

    def tokens(
        self, encoder: Encoder, images: Tensor, masks: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """[cls] (n, D) and patches (n, P, D) of images after the backbone's last norm."""
        backbone: Any = encoder.backbone
        tokens = backbone.forward_features(images, masks=masks)
        return tokens[:, 0], tokens[:, backbone.num_prefix_tokens :]

    def parts_to_compile(self) -> list[nn.Module]:
        """DINO's but for the heads: each step has another number of hidden patches."""
        heads = self.student.head, self.teacher.head
        return [part for part in super().parts_to_compile() if part not in heads]

    def begin_step(self) -> None:
        """Forget the outputs of the step before."""
        super().begin_step()
        self.patch_center.clear()

    def finish_step(self, finite: Tensor) -> dict[str, Tensor | float]:
        """Move both centres; returns statistics of [cls] and of patches."""
        of_patches: dict[str, Tensor | float] = dict(self.patch_center.move(finite))
        of_patches["teacher_patch_temp"] = self.patch_temp
        return {**super().finish_step(finite), **of_patches}

    def schedule(self, cfg: CfgNode, place: Place) -> StepSettings:
        """DINO's, and the temperature of patches, which starts with the masks."""
        options, epoch = cfg.IBOT, place.epoch - cfg.IBOT.MASK_START_EPOCH
        self.masking = epoch >= 0
        temperatures = options.WARMUP_TEACHER_PATCH_TEMP, options.TEACHER_PATCH_TEMP
        self.patch_temp = teacher_temperature(
            max(epoch, 0), *temperatures, cfg.DINO.WARMUP_TEACHER_TEMP_EPOCHS
        )
        return super().schedule(cfg, place)

    watched: ClassVar[tuple[str, ...]] = (
        *DINO.watched,
        "loss_patch",
        "patch_entropy",
        "patch_mean_entropy",
        "hidden_patches",
    )

    def figures(self, metrics: dict[str, float]) -> dict[str, float]:
        """DINO's, of the loss without its weight."""
        return super().figures(self._unweighted(metrics))

    def _unweighted(self, metrics: dict[str, float]) -> dict[str, float]:
        names = ("loss_dino", "loss_patch")
        losses = {n: metrics[n] / w for n, w in zip(names, self.weights, strict=True) if w}
        return {**metrics, **losses}

    def collapse(self, means: dict[str, float]) -> tuple[str, str] | None:
        """That of [cls], or of hidden patches where there are any."""
        means = self._unweighted(means)
        found = super().collapse(means)
        if found is not None or not means["hidden_patches"] or not self.weights[1]:
            return found
        out_dim = self.patch_center.center.shape[1]
        entropies = means["patch_entropy"], means["patch_mean_entropy"]
        kind = collapse_kind(means["loss_patch"], *entropies, out_dim)
        if kind is None:
            return None
        return f"{kind}, patches", f"{REMEDIES[kind]}; ln K2 is {math.log(out_dim):.3f}"
