"""FastReID's losses and margin classifiers without operators that read values back from the device.

``nonzero``, ``torch.where(condition)`` and ``if`` on a tensor make the host wait for the GPU, and
then the GPU for the host. The losses here take several branches at once, too.

Letters: ... branches, B images, C classes, D dimensions; a loss is one value for each branch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from fastreid.layers import any_softmax
from fastreid.modeling.losses.cross_entroy_loss import cross_entropy_loss as released_cross_entropy
from fastreid.modeling.losses.triplet_loss import triplet_loss as released_triplet
from fastreid.modeling.losses.utils import concat_all_gather
from fastreid.modeling.meta_arch import moco
from fastreid.utils import comm
from torch import Tensor

from ...registry import Original, fix, replace, replaces, source_has

MASKED = 1e9  # added to a distance that is not to be the smallest
FALLBACK_MARGIN = 0.3  # of a soft margin that overflows, as in FastReID


def cross_entropy_loss(
    pred_class_outputs: Tensor, gt_classes: Tensor, eps: float, alpha: float = 0.2
) -> Tensor:
    """Cross entropy with label smoothing, a mean over the images whose loss is not 0.

    The true class has the target 1 - eps, each other one eps / (C - 1).

    Args:
        pred_class_outputs: logits (..., B, C).
        gt_classes: (B,).
        eps: 0..1; negative for alpha times the probability of the true class, image by image.
        alpha: see eps.

    Returns:
        (...), one value for each branch.
    """
    log_p = F.log_softmax(pred_class_outputs, dim=-1)
    num_classes, index = log_p.shape[-1], gt_classes.expand(log_p.shape[:-1]).unsqueeze(-1)
    own = log_p.gather(-1, index).squeeze(-1)
    smooth = eps if eps >= 0 else alpha * own.detach().exp()
    loss = -own
    if eps:
        others = (log_p.sum(-1) - own) / (num_classes - 1)
        loss = -((1 - smooth) * own + smooth * others)
    count = (loss.detach() != 0).sum(-1).clamp(min=1)
    return loss.sum(-1) / count


def triplet_loss(
    embedding: Tensor, targets: Tensor, margin: float, norm_feat: bool, hard_mining: bool
) -> Tensor:
    """Triplet loss of features (..., B, D) with targets (B,): (...), one value for each branch.

    Args:
        embedding: features.
        targets: identities.
        margin: 0 for the soft margin, log(1 + exp(d_ap - d_an)).
        norm_feat: cosine distances instead of Euclidean ones.
        hard_mining: farthest positive and nearest negative of each image; else all of them,
            weighted by the softmax of their distances.
    """
    distances = _cosine(embedding) if norm_feat else _euclidean(embedding)
    is_pos = (targets[:, None] == targets).to(distances.dtype)
    is_neg = 1 - is_pos
    if hard_mining:
        d_ap = (distances * is_pos).max(dim=-1).values
        d_an = (distances * is_neg + is_pos * MASKED).min(dim=-1).values
    else:
        d_ap, d_an = (
            _weighted(distances * is_pos, is_pos),
            _weighted(distances * is_neg, is_neg, -1),
        )
    if margin > 0:
        return (d_ap - d_an + margin).clamp(min=0).mean(-1)
    return _soft_margin(d_an - d_ap)


def _cosine(x: Tensor) -> Tensor:
    x = F.normalize(x, dim=-1)
    return 2 - 2 * x @ x.mT


def _euclidean(x: Tensor) -> Tensor:
    squares = x.square().sum(-1)
    distances = squares.unsqueeze(-1) + squares.unsqueeze(-2) - 2 * (x @ x.mT)
    return distances.clamp(min=1e-12).sqrt()


def _weighted(distances: Tensor, mask: Tensor, sign: int = 1) -> Tensor:
    """Mean of distances (..., B, B), weighted by the softmax of ``sign`` times them where mask."""
    scores = sign * distances
    exp = torch.exp(scores - (scores * mask).max(dim=-1, keepdim=True).values) * mask
    return (distances * exp / (exp.sum(-1, keepdim=True) + 1e-6)).sum(-1)


def _soft_margin(gap: Tensor) -> Tensor:
    """Mean of log(1 + exp(-gap)) over (..., B); of a branch where it overflows a hinge."""
    limit = math.log(torch.finfo(gap.dtype).max)
    overflows = (gap.detach() < -limit).any(-1)
    hinge = (FALLBACK_MARGIN - gap).clamp(min=0).mean(-1)
    return torch.where(overflows, hinge, F.softplus(-gap).mean(-1))


@fix(
    where="modeling/losses/cross_entroy_loss.py:50",
    symptom="a GPU waits for the number of losses that are not 0, once for each classifier",
)
def cross_entropy_without_waiting() -> bool:
    """Count the losses that are not 0 on the device; no matrix of targets."""
    return replace(released_cross_entropy, cross_entropy_loss, "loss.nonzero(as_tuple=False)")


@fix(
    where="modeling/losses/triplet_loss.py:110",
    symptom="a GPU waits for `if loss == float('Inf')` of the soft margin, once a branch",
)
def triplet_without_waiting() -> bool:
    """Choose between soft margin and hinge on the device."""
    return replace(released_triplet, triplet_loss, "if loss == float('Inf')")


def _margin_of_cos(_: Original, self: Any, logits: Tensor, targets: Tensor) -> Tensor:
    return (logits - self.m * _one_hot(logits, targets)) * self.s


def _margin_of_angle(_: Original, self: Any, logits: Tensor, targets: Tensor) -> Tensor:
    return (logits.acos() + self.m * _one_hot(logits, targets)).cos() * self.s


def _circle_margin(_: Original, self: Any, logits: Tensor, targets: Tensor) -> Tensor:
    own = _one_hot(logits, targets)
    alpha_p = (1 + self.m - logits.detach()).clamp(min=0)
    alpha_n = (logits.detach() + self.m).clamp(min=0)
    logits_p, logits_n = alpha_p * (logits - (1 - self.m)), alpha_n * (logits - self.m)
    return (logits_p * own + logits_n * (1 - own)) * self.s


def _one_hot(logits: Tensor, targets: Tensor) -> Tensor:
    """(..., B, C) with 1 at the class of each image (B,); 0 for -1, a class of another process."""
    classes = torch.arange(logits.shape[-1], device=logits.device)
    return (targets.unsqueeze(-1) == classes).to(logits.dtype).expand_as(logits)


MARGINS: dict[str, Callable[..., Tensor]] = {
    "CosSoftmax": _margin_of_cos,
    "ArcSoftmax": _margin_of_angle,
    "CircleSoftmax": _circle_margin,
}


@fix(
    where="layers/any_softmax.py:37,48,66",
    symptom="a GPU waits for the indices of the targets that are not -1, in margin classifiers",
)
def margins_without_waiting() -> bool:
    """Add margins by a mask instead of indices, and in a new tensor."""
    changed = False
    for name, forward in MARGINS.items():
        layer = getattr(any_softmax, name)
        changed |= replaces(layer, "forward", "torch.where(targets != -1)")(forward)()
    return changed


@fix(
    where="modeling/meta_arch/moco.py:70",
    symptom="a GPU waits for the place in MoCo's queue",
)
def queue_without_waiting() -> bool:
    """Write into the queue at places that the device counts."""
    if not source_has(moco.Memory._dequeue_and_enqueue, "int(self.queue_ptr)"):
        return False
    moco.Memory._dequeue_and_enqueue = _enqueue
    return True


@torch.no_grad()
def _enqueue(self: Any, keys: Tensor, targets: Tensor) -> None:
    if comm.get_world_size() > 1:
        keys, targets = concat_all_gather(keys), concat_all_gather(targets)
    count = len(keys)
    assert self.K % count == 0  # for simplicity
    places = self.queue_ptr + torch.arange(count, device=keys.device)
    self.queue.index_copy_(1, places, keys.T)
    self.queue_label.index_copy_(1, places, targets[None])
    self.queue_ptr.add_(count).remainder_(self.K)
