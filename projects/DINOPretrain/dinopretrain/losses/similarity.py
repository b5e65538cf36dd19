"""What is watched of a contrastive method in a step, summed over its pieces and all processes.

Letters: B images of this process, C dimensions, n other keys that a query is compared with.
"""

from __future__ import annotations

import torch
from fastreid.utils import comm
from torch import Tensor


class SimilaritySums:
    """Sums over queries and keys since the last :meth:`clear`."""

    def __init__(self) -> None:
        self._sums: Tensor | None = None

    def clear(self) -> None:
        """Forget all of them."""
        self._sums = None

    @torch.no_grad()
    def add(self, logits: Tensor, own: Tensor, keys: Tensor, temperature: float) -> None:
        """Take up the logits of a forward pass.

        Args:
            logits: (B, 1 + n), similarities divided by the temperature.
            own: (B,), the column of each query's own key.
            keys: (B, C), each of length 1.
            temperature: tau.
        """
        right = logits.gather(1, own[:, None]).sum()
        others = (logits.sum() - right) / max(logits.shape[1] - 1, 1)
        count = right.new_full((1,), len(logits))
        parts = [torch.stack([right, others]) * temperature, count, keys.sum(0).to(right)]
        sums = torch.cat(parts)
        self._sums = sums if self._sums is None else self._sums + sums

    @torch.no_grad()
    def reduced(self) -> dict[str, Tensor]:
        """Statistics of all processes, 0-dimensional, on the device; every process has to call it.

        - "positive_similarity": mean cosine of a query and its own key;
        - "negative_similarity": of a query and the others;
        - "key_spread": standard deviation over images of the keys, from 0 (all alike) to 1.
        """
        if self._sums is None:
            raise ValueError("no queries were added since clear()")
        sums = self._sums.clone()
        if comm.get_world_size() > 1:
            torch.distributed.all_reduce(sums)
        right, others, key = sums[0] / sums[2], sums[1] / sums[2], sums[3:] / sums[2]
        # The variances of all dimensions sum to E|k|^2 - |E k|^2, and |k| is 1.
        spread = (1 - key.square().sum()).clamp(min=0).sqrt()
        return {
            "positive_similarity": right,
            "negative_similarity": others,
            "key_spread": spread,
        }
