"""What the teacher said in a step, summed over its pieces and over all processes.

The centre and the metrics that are watched are of the whole batch: an entropy of the mean output,
say, cannot be averaged from those of the pieces.

Letters: G global views of B images, n outputs (G B), K outputs of the head, D dimensions of the
feature.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from fastreid.utils import comm
from torch import Tensor

from .precision import precise


class OutputSums:
    """Sums over the teacher's outputs since the last :meth:`clear`."""

    def __init__(self) -> None:
        self._sums: Tensor | None = None
        self._sizes: list[int] = []

    def clear(self) -> None:
        """Forget all outputs."""
        self._sums = None

    @torch.no_grad()
    def add(self, logits: Tensor, features: Tensor, center: Tensor, teacher_temp: float) -> None:
        """Take up the outputs of a forward pass.

        Args:
            logits: (G, B, K).
            features: (n, D), of the backbone.
            center: (1, K), the same in all passes of a step, and in :meth:`reduced`.
            teacher_temp: tau_t.
        """
        logits = precise(logits)
        centred = logits - center
        log_p = F.log_softmax(centred / teacher_temp, dim=-1)
        p = log_p.exp()
        entropy = -(p * log_p).sum().view(1)
        unit = F.normalize(precise(features), dim=-1).sum(0)
        views = len(logits)
        squares = centred.square().sum((0, 1))
        # Products of an image's views, each with the mean of the others
        pairs = (centred.sum(0).square().sum() - squares.sum()) / max(views - 1, 1)
        parts = [logits.sum((0, 1)), squares, p.sum((0, 1)), unit, entropy, pairs.view(1)]
        parts.append(torch.full_like(entropy, float(views * logits.shape[1])))
        self._sizes = [len(part) for part in parts]
        sums = torch.cat(parts)
        self._sums = sums if self._sums is None else self._sums + sums

    @torch.no_grad()
    def reduced(self, center: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean logits (1, K) and statistics of the outputs of all processes, after :meth:`add`.

        Every process has to call it. The statistics, 0-dimensional, on the device:

        - "teacher_entropy": mean entropy of an output, 0..ln K;
        - "mean_entropy": entropy of the mean output, the same where all images get one output;
        - "logit_spread": standard deviation over images of the logits, mean over K;
        - "feature_spread": standard deviation over images of the features, each of length 1: from 0
          (all alike) to 1 (in all directions);
        - "view_agreement": correlation over images of the logits of two views of an image, -1..1.
          Near a uniform output a student that fits its teacher has this times tau_s / tau_t of its
          spread: outputs grow apart only where it is above tau_t / tau_s (0.4 of 0.04 and 0.1).
        """
        if self._sums is None:
            raise ValueError("no outputs were added since clear()")
        sums = self._sums.clone()
        if comm.get_world_size() > 1:
            torch.distributed.all_reduce(sums)
        count = sums[-1]
        parts = (sums / count).split(self._sizes)
        mean_logits, squares, mean_p, unit, entropy, pairs, _ = parts
        offset = (mean_logits - center.flatten()).square()
        variance = squares - offset
        return mean_logits[None], {
            "teacher_entropy": entropy[0],
            "mean_entropy": -torch.special.xlogy(mean_p, mean_p).sum(),
            "logit_spread": variance.clamp(min=0).sqrt().mean(),
            # The variances of all dimensions sum to E|f|^2 - |E f|^2, and |f| is 1.
            "feature_spread": (1 - unit.square().sum()).clamp(min=0).sqrt(),
            "view_agreement": (pairs[0] - offset.sum()) / variance.sum().clamp(min=1e-12),
        }
