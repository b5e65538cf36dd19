"""The cluster memory: one row a cluster, ClusterNCE against all rows, an update in each step.

Source: Dai et al., "Cluster Contrast for Unsupervised Person Re-Identification", 2021, equations 4
to 6. As in the released code a row moves in the backward pass, after its old value gave the
gradient.

Letters: N images, M clusters, D dimensions, B images of a batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from fastreid_compat.repairs.training.metrics import current_storage, read_later
from reid_core.config.values import check_choice
from reid_core.run.processes import gathered
from torch import Tensor, nn

from .updates import UPDATES


def cluster_centres(features: Tensor, labels: Tensor) -> Tensor:
    """Normalised means (M, D) of the features of each cluster.

    Args:
        features: (N, D), of length 1.
        labels: (N,) int64, 0..M-1, each of them there; negative: of no cluster.
    """
    kept = labels >= 0
    features, labels = features[kept], labels[kept]
    sums = features.new_zeros(int(labels.max()) + 1 if len(labels) else 0, features.shape[1])
    sums.index_add_(0, labels, features)
    return F.normalize(sums / labels.bincount(minlength=len(sums))[:, None].clamp(min=1))


class ClusterMemory(nn.Module):
    """Memory (M, D), recomputed in each epoch; it is no part of the model's weights.

    Args:
        temperature: tau, divisor of the cosines.
        momentum: m, the share of a row that stays in an update.
        update: name in :data:`.updates.UPDATES`.

    Attributes:
        rows: (M, D) float32, of length 1; (0, 0) before the first epoch.
    """

    rows: Tensor

    def __init__(
        self, temperature: float = 0.05, momentum: float = 0.2, update: str = "hard"
    ) -> None:
        super().__init__()
        check_choice("CLUSTER.UPDATE", update, UPDATES)
        self.temperature, self.momentum, self.update = temperature, momentum, update
        self.register_buffer("rows", torch.empty(0, 0), persistent=False)

    def begin(self, rows: Tensor) -> None:
        """Take the rows (M, D), of length 1, of a new epoch."""
        self.rows = rows.detach().clone().float().to(self.rows.device)

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        """ClusterNCE, the mean over the batch; its backward pass moves the rows.

        Args:
            features: (B, D), of any length.
            labels: (B,) int64, cluster of each.

        Raises:
            ValueError: the memory has no such row; :meth:`begin` was not called, or for others. In
                a training it is raised when metrics are read, so that no step waits for the device.
        """
        labels = self._checked(labels)
        unit = F.normalize(features.float())
        loss = F.cross_entropy(unit @ self.rows.T / self.temperature, labels)
        if unit.requires_grad:
            # It runs when the gradient of the features is there: the old rows are not needed again.
            unit.register_hook(lambda _: self.move(unit.detach(), labels))
        return loss

    def _checked(self, labels: Tensor) -> Tensor:
        """The labels; with a trainer clamped, so that a wrong one cannot end a GPU's process."""
        ends, count, storage = torch.stack(torch.aminmax(labels)), len(self.rows), current_storage()

        def judge(numbers: Sequence[float], _iteration: int = 0) -> None:
            low, high = map(int, numbers)
            if high >= count or low < 0:
                raise ValueError(f"labels {low} to {high}, a memory of {count} rows")

        if storage is None or not count:
            judge(ends.tolist())
            return labels
        read_later(storage, ends, judge)
        return labels.clamp(0, count - 1)

    @torch.no_grad()
    def move(self, features: Tensor, labels: Tensor) -> None:
        """Update the rows by the unit features (B, D) of all processes, alike on all of them."""
        rows = self.rows.clone()
        UPDATES[self.update](rows, gathered(features), gathered(labels), self.momentum)
        self.rows = rows
