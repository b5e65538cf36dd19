"""KoLeo: spread the features of a batch, so that they do not fall into a few dimensions.

Source: Sablayrolles et al., "Spreading vectors for similarity search", ICLR 2019, equation 3, after
Kozachenko and Leonenko's estimator of entropy; with DINO first in Oquab et al., "DINOv2", 2023,
section 4. The released recipe of DINO does not have it.

Letters: G global views, B images of this process, N of all processes, D dimensions.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from fastreid.utils import comm
from torch import Tensor
from torch.distributed.nn.functional import all_gather

EPS = 1e-8  # added to a distance, so that two equal features have a finite loss


def koleo_loss(features: Tensor) -> Tensor:
    """Mean of -log(distance to the nearest other image), view by view, of features of length 1.

    The nearest is looked for among the images of all processes, which then have the same gradients
    as one process with the whole batch.

    Args:
        features: (G, B, D), of the student's backbone.

    Returns:
        Scalar, in nats: -ln 2 / 2 where all are at right angles, high where they are alike, 0 for
        one image, which has no other.
    """
    unit = F.normalize(features.float(), dim=-1)
    others = _of_all_processes(unit)
    if others.shape[1] < 2:
        return 0 * unit.sum()
    rows, columns = (torch.arange(x.shape[1], device=unit.device) for x in (unit, others))
    itself = rows[:, None] + comm.get_rank() * len(rows) == columns
    with torch.no_grad():
        nearest = (unit @ others.transpose(1, 2)).masked_fill(itself, -2.0).argmax(-1)
    chosen = torch.stack([view[index] for view, index in zip(others, nearest, strict=True)])
    return -torch.log((unit - chosen).norm(dim=-1) + EPS).mean()


def _of_all_processes(unit: Tensor) -> Tensor:
    """(G, B, D) of each process -> (G, N, D) in the order of their ranks, with gradients."""
    if comm.get_world_size() == 1:
        return unit
    return torch.cat(list(all_gather(unit.contiguous())), dim=1)
