"""How the rows of a cluster memory follow the features of a batch.

Source: Dai et al., "Cluster Contrast for Unsupervised Person Re-Identification", 2021, equations 5
and 6, and the released code, which adds the update by the hardest image.

Letters: M clusters, D dimensions, B images of a batch; m the momentum, the share of the old row
that stays.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

Update = Callable[[Tensor, Tensor, Tensor, float], None]


@torch.no_grad()
def by_each_instance(rows: Tensor, features: Tensor, labels: Tensor, momentum: float) -> None:
    """Move a row by each of its images, in the order of the batch, normalising after each.

    Images of different clusters do not touch one another, so that the first image of every cluster
    is taken at once, then the second, and so on.

    Args:
        rows: (M, D), of length 1; changed in place.
        features: (B, D), of length 1.
        labels: (B,) int64, cluster of each.
        momentum: m, 0..1.
    """
    turns = _turn_in_cluster(labels)
    for turn in range(int(turns.max()) + 1 if len(turns) else 0):
        now = turns == turn
        _blend(rows, features[now], labels[now], momentum)


@torch.no_grad()
def by_hardest(rows: Tensor, features: Tensor, labels: Tensor, momentum: float) -> None:
    """Move a row once, by that image of its cluster in the batch which is least like the old row.

    Arguments are those of :func:`by_each_instance`; of equally hard images it is the first.
    """
    likeness = (features * rows[labels]).sum(1)
    order = likeness.argsort(stable=True)
    order = order[labels[order].argsort(stable=True)]  # by cluster, the least alike first
    ordered = labels[order]
    first = torch.ones_like(ordered, dtype=torch.bool)
    first[1:] = ordered[1:] != ordered[:-1]
    # The others move a row too many, so that their number need not be known to the host.
    extended = torch.cat([rows, rows[:1]])
    _blend(extended, features[order], torch.where(first, ordered, len(rows)), momentum)
    rows.copy_(extended[:-1])


def _turn_in_cluster(labels: Tensor) -> Tensor:
    """How many images of the same cluster stand before each image, (B,)."""
    same = labels[:, None] == labels
    return same.tril(-1).sum(1)


def _blend(rows: Tensor, features: Tensor, labels: Tensor, momentum: float) -> None:
    """Blend rows with one feature each; a row of which there are several gets any of them."""
    rows[labels] = F.normalize(momentum * rows[labels] + (1 - momentum) * features)


UPDATES: dict[str, Update] = {"hard": by_hardest, "each": by_each_instance}
