"""Query expansion and database-side augmentation: features become means of their neighbours.

Average query expansion (Chum et al., "Total Recall", ICCV 2007) with weights similarity ** alpha
(Radenovic et al., "Fine-tuning CNN Image Retrieval with No Human Annotation", 2018). TEST.AQE does
to queries and gallery at once what FastReID's ``aqe`` does, without its (N, N) similarities.
Database-side augmentation (Arandjelovic and Zisserman, "Three things everyone should know to
improve object retrieval", CVPR 2012) does it to the gallery alone, with neighbours of the gallery:
nothing depends on which queries there are.

Letters: N features, D dimensions, k neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from reid_common.errors import UserError
from torch import Tensor

from ..neighbours.nearest import nearest

GATHERED = 2**24  # numbers of neighbours that are gathered at once: 64 MB


@dataclass(frozen=True)
class Expansion:
    """How features are expanded.

    Attributes:
        k: neighbours of the mean, the feature itself among them, >= 1.
        alpha: power of the cosine that weighs a neighbour.
        times: how often, one after the other, >= 1.
    """

    k: int = 10
    alpha: float = 3.0
    times: int = 1

    def __post_init__(self) -> None:
        if self.k < 1 or self.times < 1:
            raise UserError(
                f"expansion with k={self.k} neighbours, {self.times} times: both must be 1 or more"
            )


@torch.no_grad()
def expand(features: Tensor, how: Expansion, block_mb: float = 128) -> Tensor:
    """Return features (N, D) float32, each the weighted mean of its neighbours.

    As in FastReID k is lowered to N - 1, and the sum is divided by k, not by the weights: lengths
    change, cosines do not. ``block_mb``: megabytes of a block of similarities, on a GPU.
    """
    k = min(how.k, len(features) - 1)
    if k < 1:
        return features.clone()
    for _ in range(how.times):
        normalised = F.normalize(features, dim=1)
        similarities, neighbours = nearest(normalised, k, "inner_product", block_mb)
        weights = torch.from_numpy(similarities).to(features.device).pow_(how.alpha).div_(k)
        indices = torch.from_numpy(neighbours).to(features.device)
        expanded = torch.empty_like(features)
        size = max(1, GATHERED // (k * features.shape[1]))
        for start in range(0, len(features), size):
            rows = slice(start, start + size)
            gathered = features[indices[rows]]  # (size, k, D)
            expanded[rows] = torch.einsum("nk,nkd->nd", weights[rows], gathered)
        features = expanded
    return features
