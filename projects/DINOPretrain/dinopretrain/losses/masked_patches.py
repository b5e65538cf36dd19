"""The loss of hidden patches: the student says what the teacher, who sees them, makes of them.

Source: Zhou et al., "iBOT: Image BERT Pre-Training with Online Tokenizer", ICLR 2022, equation 2.

Letters: n views (G views of B images, view by view), P patches of a view, M hidden patches of all
views, K2 outputs.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from fastreid.utils import comm
from reid_core.run.devices import from_host
from torch import Tensor, nn

from .precision import precise


class HiddenPatches(NamedTuple):
    """Which patches of a batch are hidden, on the model's device."""

    masks: Tensor  # (n, P) bool, True where a patch is hidden
    places: Tensor  # (M,) int64: of each hidden patch among all n P of them, in order
    counts: Tensor  # (M,): how many its view has


def hidden_patches(masks: np.ndarray, device: torch.device) -> HiddenPatches:
    """Find them on the host, where masks are drawn, so that nobody waits for the device.

    Args:
        masks: (n, P) bool.
        device: of the model.
    """
    of_view = masks.sum(1)
    found = np.flatnonzero(masks), np.repeat(of_view, of_view).astype(np.float32)
    arrays = (np.ascontiguousarray(x) for x in (masks, *found))
    return HiddenPatches(*(from_host(torch.from_numpy(x), device) for x in arrays))


def masked_patch_loss(
    student: Tensor,
    teacher: Tensor,
    hidden: HiddenPatches,
    center: Tensor,
    student_temp: float,
    teacher_temp: float,
) -> Tensor:
    """Mean over views of the mean H(p_t, p_s) over their hidden patches; 0 of a view without any.

    Args:
        student: (M, K2) logits of hidden patches, in the order of their places.
        teacher: (M, K2), likewise; no gradient flows into them.
        hidden: which they are.
        center: (1, K2), subtracted from the teacher's logits.
        student_temp: tau_s.
        teacher_temp: tau_t.

    Returns:
        Scalar.
    """
    targets = F.softmax((precise(teacher.detach()) - center) / teacher_temp, dim=-1)
    logits = precise(student) / student_temp
    # H(p, softmax(s)) = logsumexp(s) - p . s
    losses = torch.logsumexp(logits, dim=-1) - (targets * logits).sum(-1)
    return (losses / hidden.counts).sum() / len(hidden.masks)


class PatchCenter(nn.Module):
    """The running centre of the teacher's outputs for patches, and what is watched of them.

    Args:
        out_dim: K2.
        momentum: m.
    """

    center: Tensor

    def __init__(self, out_dim: int, momentum: float = 0.9) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("center", torch.zeros(1, out_dim))
        self._sums: Tensor | None = None

    def clear(self) -> None:
        """Forget the outputs of a step."""
        self._sums = None

    @torch.no_grad()
    def add(self, patches: Tensor, hidden: Tensor, teacher_temp: float) -> None:
        """Take up the outputs of a forward pass.

        Args:
            patches: (any, K2) logits of all patches, hidden or not.
            hidden: (M, K2), of those that are hidden.
            teacher_temp: tau_t.
        """
        hidden = precise(hidden)
        log_p = F.log_softmax((hidden - self.center) / teacher_temp, dim=-1)
        p = log_p.exp()
        counts = [hidden.new_full((1,), len(x)) for x in (patches, hidden)]
        sums = [patches.sum(0, dtype=hidden.dtype), p.sum(0), -(p * log_p).sum().view(1), *counts]
        joined = torch.cat(sums)
        self._sums = joined if self._sums is None else self._sums + joined

    @torch.no_grad()
    def move(self, finite: Tensor | None = None) -> dict[str, Tensor]:
        """Move the centre towards the mean of all processes; every process has to call it.

        Where ``finite``, a boolean on the device, is False, the centre stays.

        Returns:
            "patch_entropy": mean entropy of an output of a hidden patch, 0..ln K2;
            "patch_mean_entropy": entropy of the mean output; both NaN-free, 0 without patches.
        """
        if self._sums is None:
            raise ValueError("no outputs were added since clear()")
        sums = self._sums.clone()
        if comm.get_world_size() > 1:
            torch.distributed.all_reduce(sums)
        size = self.center.shape[1]
        total, p, entropy, counts = sums.split([size, size, 1, 2])
        mean = (total / counts[0])[None]
        moved = (self.center * self.momentum).add_(mean, alpha=1 - self.momentum)
        self.center.copy_(moved if finite is None else torch.where(finite, moved, self.center))
        hidden = counts[1].clamp(min=1)
        mean_p = p / hidden
        return {
            "patch_entropy": entropy[0] / hidden,
            "patch_mean_entropy": -torch.special.xlogy(mean_p, mean_p).sum(),
            "hidden_patches": counts[1],
        }
