"""The BNNecks of all branches of JPM at once: small products and normalisations as one of each.

On a GPU an operator on one branch takes as long to start as it takes to run on all of them. The
modules stay BNNecks, with parameters, statistics and checkpoint keys of their own; their tensors
are put together for the step.

Letters: B images, n branches, D dimensions, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .bnneck import CLASSIFIERS, BNNeck


class StackedParts(Sequence[dict[str, Tensor]]):
    """Training outputs of the parts, one after the other, which are held as one.

    Attributes:
        tensors: of all branches together, (n, B, ...), the global one first.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self.tensors = tensors

    def __len__(self) -> int:
        return len(next(iter(self.tensors.values()))) - 1

    def __getitem__(self, part: Any) -> Any:
        if isinstance(part, slice):
            return [self[number] for number in range(len(self))[part]]
        return self.branch(range(1, len(self) + 1)[part])

    def branch(self, number: int) -> dict[str, Tensor]:
        """Outputs of one branch, 0 for the global one."""
        return {name: tensor[number] for name, tensor in self.tensors.items()}


def can_be_stacked(necks: Sequence[BNNeck]) -> bool:
    """Whether all necks are alike, and of parts that :func:`stacked_outputs` calculates itself."""
    first = necks[0]
    return all(
        type(neck) is BNNeck
        and type(neck.bottleneck) is nn.BatchNorm1d
        and type(neck.classifier) is nn.Linear
        and neck.classifier.bias is None
        and type(neck.cls_layer) is type(first.cls_layer)
        and type(neck.cls_layer) in CLASSIFIERS.values()
        and neck.bottleneck.training
        and neck.bottleneck.momentum is not None
        and neck.bottleneck.track_running_stats
        and not _has_hooks(neck)
        for neck in necks
    )


def _has_hooks(neck: nn.Module) -> bool:
    return any(m._forward_hooks or m._forward_pre_hooks for m in neck.modules())


def stacked_outputs(
    necks: Sequence[BNNeck], before: Tensor, targets: Tensor, neck_feat: str
) -> StackedParts:
    """What ``neck.outputs`` gives for each of the necks, as one.

    Args:
        necks: n, which :func:`can_be_stacked`; their running statistics move.
        before: features before BN (B, n, D).
        targets: (B,).
        neck_feat: see :meth:`.bnneck.BNNeck.outputs`.
    """
    after = _normalised([cast(nn.BatchNorm1d, neck.bottleneck) for neck in necks], before)
    features = before if neck_feat == "before" else after
    weight = torch.stack([neck.classifier.weight for neck in necks])  # (n, C, D)
    outputs = necks[0].logits_of(after.transpose(0, 1), weight, targets)
    return StackedParts({**outputs, "features": features.transpose(0, 1)})


def _normalised(norms: Sequence[nn.BatchNorm1d], x: Tensor) -> Tensor:
    """Batch normalisation in training of (B, n, D), each branch by its own module."""
    first, dim = norms[0], x.shape[-1]
    means = [cast(Tensor, norm.running_mean) for norm in norms]
    variances = [cast(Tensor, norm.running_var) for norm in norms]
    mean, variance = torch.cat(means), torch.cat(variances)
    weight, bias = torch.cat([n.weight for n in norms]), torch.cat([n.bias for n in norms])
    momentum = cast(float, first.momentum)
    out = F.batch_norm(x.flatten(1), mean, variance, weight, bias, True, momentum, first.eps)
    with torch.no_grad():
        torch._foreach_copy_([*means, *variances], [*mean.split(dim), *variance.split(dim)])
        torch._foreach_add_([cast(Tensor, norm.num_batches_tracked) for norm in norms], 1)
    return out.view_as(x)
