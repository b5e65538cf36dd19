"""What MoCo v2, MoCo v3 and MoBY share: queries, and keys of an encoder that follows slowly.

Source: He et al., "Momentum Contrast for Unsupervised Visual Representation Learning", CVPR 2020,
algorithm 1. The key encoder moves before the keys are made, by the online weights as the last
optimizer step left them; so step 0 moves nothing, and after the last step it stays behind.

Letters: B images, N images of all processes, C dimensions of queries and keys.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from fastreid.config import CfgNode
from torch import Tensor, nn

from ..losses.precision import precise
from ..losses.similarity import SimilaritySums
from ..solver.optimizers import optimizer_of
from .encoder import Encoder
from .method import PretrainingMethod, average_of

# Shares of the loss of a uniform output, and of the greatest spread of keys.
UNIFORM, ALIKE = 0.999, 0.03
REMEDIES = {
    "uniform": "queries are as like to their own keys as to others, the loss is that of a uniform "
    "output. Lower SOLVER.BASE_LR or lengthen SOLVER.WARMUP_EPOCHS, raise MOCO.MOMENTUM; with a "
    "queue, give it time (DINO.COLLAPSE_GRACE): the loss rises at first, while keys replace noise",
    "constant": "all images have the same key. Lower SOLVER.BASE_LR, raise MOCO.MOMENTUM, and "
    "lengthen SOLVER.WARMUP_EPOCHS; for a ViT set MOCO.FREEZE_PATCHES True",
}


class MomentumContrast(PretrainingMethod):
    """Query encoder, key encoder, and perhaps a predictor behind the first.

    Args:
        query_encoder: backbone and projector; gets gradients.
        key_backbone: backbone of the same architecture, which starts as the other's copy.
        predictor: behind the query encoder alone; None for none.
        temperature: tau.
        pixel_mean: of each channel, pixels 0..255.
        pixel_std: of each channel.
    """

    watched: ClassVar[tuple[str, ...]] = ("loss_over_uniform", "key_spread")
    loss_name = "loss_contrast"
    queries_moved: Tensor

    def __init__(
        self,
        *,
        query_encoder: Encoder,
        key_backbone: nn.Module,
        predictor: nn.Module | None,
        temperature: float,
        pixel_mean: list[float],
        pixel_std: list[float],
    ) -> None:
        super().__init__(pixel_mean, pixel_std)
        self.query_encoder, self.temperature = query_encoder, temperature
        self.key_encoder = average_of(query_encoder, key_backbone)
        self.predictor = nn.Identity() if predictor is None else predictor
        self.similarities = SimilaritySums()
        # Since the key encoder last followed; in checkpoints: the last step may be skipped.
        self.register_buffer("queries_moved", torch.ones((), dtype=torch.bool))
        heads = num_heads(query_encoder.backbone)
        if heads:
            # Shapes do not show it: whoever loads these weights can compare.
            self.register_buffer("num_heads", torch.tensor(heads))

    @property
    def trained(self) -> Encoder:
        """The query encoder."""
        return self.query_encoder

    @property
    def average(self) -> Encoder:
        """The key encoder."""
        return self.key_encoder

    @property
    def exported(self) -> Encoder:
        """The query encoder: all three papers fine-tune it, not the average."""
        return self.query_encoder

    def queries(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) -> queries (B, C) of length 1."""
        return F.normalize(precise(self.predictor(self.query_encoder(images)[1])), dim=1)

    @torch.no_grad()
    def keys(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) -> keys (B, C) of length 1, without gradients."""
        return F.normalize(precise(self.key_encoder(images)[1]), dim=1)

    def begin_step(self) -> None:
        """Let the key encoder follow, unless it has followed these weights already."""
        self.move_average(self.momentum, self.queries_moved)
        self.similarities.clear()

    def finish_step(self, finite: Tensor) -> dict[str, Tensor | float]:
        """Statistics of queries and keys."""
        self.queries_moved.copy_(finite)
        return dict(self.similarities.reduced())

    def moving_buffers(self) -> list[Tensor]:
        """Those of both encoders and of the predictor."""
        return [*super().moving_buffers(), *self.predictor.buffers()]

    def uniform_loss(self) -> float:
        """Loss of an output that does not know its own key."""
        raise NotImplementedError

    def figures(self, metrics: dict[str, float]) -> dict[str, float]:
        """The loss as a share of that of a uniform output."""
        return {"loss_over_uniform": metrics[self.loss_name] / self.uniform_loss()}

    def gradient_figures(self) -> dict[str, Tensor]:
        """Norm of the patch projection's gradient: spikes of it precede dips (MoCo v3, 4.2)."""
        patches = getattr(self.query_encoder.backbone, "patch_embed", None)
        gradient = None if patches is None else patches.proj.weight.grad
        return {} if gradient is None else {"patch_grad_norm": gradient.detach().norm()}

    def collapse(self, means: dict[str, float]) -> tuple[str, str] | None:
        """Uniform outputs, or keys that are all alike."""
        kind = None
        if means["key_spread"] < ALIKE:
            kind = "constant"
        elif means["loss_over_uniform"] > UNIFORM:
            kind = "uniform"
        return None if kind is None else (kind, REMEDIES[kind])

    def build_optimizer(self, cfg: CfgNode) -> torch.optim.Optimizer:
        """SOLVER.OPT; all parameters decay."""
        parameters = [p for p in self.parameters() if p.requires_grad]
        return optimizer_of(cfg, [{"params": parameters, "weight_decay": cfg.SOLVER.WEIGHT_DECAY}])

    def clip_norm(self, cfg: CfgNode) -> float:
        """Greatest norm of all gradients together."""
        return cfg.MOCO.CLIP_GRADIENT

    clips_together: ClassVar[bool] = True

    def exported_state(self) -> dict[str, Tensor]:
        """The backbone's, and of a ViT the number of its heads."""
        state = super().exported_state()
        heads = getattr(self, "num_heads", None)
        return state if heads is None else {**state, "num_heads": heads.cpu()}


def num_heads(backbone: nn.Module) -> int:
    """Heads of a ViT's attention; 0 for a CNN."""
    blocks: Any = getattr(backbone, "blocks", None)
    return blocks[0].attn.num_heads if blocks else 0


def contrast_settings(cfg: CfgNode) -> dict[str, Any]:
    """Constructor keywords that all three methods have."""
    return {
        "temperature": cfg.MOCO.TEMPERATURE,
        "pixel_mean": cfg.MODEL.PIXEL_MEAN,
        "pixel_std": cfg.MODEL.PIXEL_STD,
    }


def queue_uniform(size: int) -> float:
    """Cross entropy of a uniform output over one key and a queue of ``size``."""
    return math.log(1 + size)
