"""BatchNorm whose statistics come from groups of images of a batch, on one device.

The released recipe splits a batch over several GPUs, and BatchNorm, which is not synchronised, sees
the part of its own GPU: 64 images of 8 clusters. That part of the recipe is lost on one GPU: with
all 256 images in one group a ResNet-50 gave 59 to 63 mAP on Market-1501 instead of 82.6
(alibaba/cluster-contrast-reid, issues 14 and 16). Groups of consecutive images give it back. The
running statistics, for evaluation, are those of the first group, as of the first GPU there.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class _Grouped(_BatchNorm):
    """Mixed into BatchNorm1d and BatchNorm2d; ``group`` images share statistics in training."""

    group = 0

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (B, C, ...) group by group; the last group may be smaller."""
        if not self.training or not 0 < self.group < len(input):
            return super().forward(input)
        first, *others = input.split(self.group)
        outputs = [super().forward(first)]
        settings: Any = {"training": True, "momentum": 0.0, "eps": self.eps}
        for part in others:
            outputs.append(F.batch_norm(part, None, None, self.weight, self.bias, **settings))
        return torch.cat(outputs)


class GroupedBatchNorm1d(_Grouped, nn.BatchNorm1d):
    """BatchNorm of (B, C) in groups."""


class GroupedBatchNorm2d(_Grouped, nn.BatchNorm2d):
    """BatchNorm of (B, C, H, W) in groups."""


def group_batch_norms(module: nn.Module, group: int) -> nn.Module:
    """Let every BatchNorm of a model, with its weights and statistics, work in groups, in place.

    Args:
        module: its BatchNorm layers are replaced; it must not be one itself.
        group: images of a group; 0 leaves all as it is.

    Returns:
        The same module.
    """
    for name, child in list(module.named_children()) if group else []:
        kind = GroupedBatchNorm2d if isinstance(child, nn.BatchNorm2d) else GroupedBatchNorm1d
        if not isinstance(child, (nn.BatchNorm1d, nn.BatchNorm2d)):
            group_batch_norms(child, group)
        elif not isinstance(child, _Grouped):
            setattr(module, name, _grouped(child, kind, group))
    return module


def _grouped(norm: _BatchNorm, kind: type[_Grouped], group: int) -> _Grouped:
    settings = (norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
    grouped = kind(*settings)
    grouped.group = group
    # The same parameters and buffers, frozen ones included
    grouped._parameters, grouped._buffers = norm._parameters, norm._buffers
    return grouped.train(norm.training)
