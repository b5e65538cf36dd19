"""BatchNorm whose statistics are of all processes, on CPUs as well.

torch's SyncBatchNorm needs a GPU. Elsewhere two gloo processes have the statistics, and the
gradients, of one process with the whole batch, so that methods that need it can be tested, and
tried, without one.

Letters: B images of this process, C channels.
"""

from __future__ import annotations

from typing import Any

import torch
from fastreid.utils import comm
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce
from torch.nn.modules.batchnorm import _BatchNorm


class SyncedBatchNorm(_BatchNorm):
    """BatchNorm by sums over all processes."""

    def _check_input_dim(self, x: Tensor) -> None:
        if x.dim() < 2:
            raise ValueError(f"BatchNorm takes (B, C, ...), this is {tuple(x.shape)}")

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, ...) -> the same, normalised by the mean and variance of all processes."""
        if not self.training or comm.get_world_size() == 1:
            return super().forward(x)
        self._check_input_dim(x)
        axes = [0, *range(2, x.dim())]
        count = x.new_full((1,), x.numel() // x.shape[1])
        sums = all_reduce(torch.cat([x.sum(axes), count]))
        total = sums[-1].detach()
        mean = sums[:-1] / total
        shape = [1, -1] + [1] * (x.dim() - 2)
        # Of the squares of differences from the mean: those of x itself would cancel.
        centred = x - mean.view(shape)
        variance = all_reduce(centred.square().sum(axes)) / total
        self._move_statistics(mean.detach(), variance.detach() * total / (total - 1))
        out = centred * torch.rsqrt(variance + self.eps).view(shape)
        if self.affine:
            out = out * self.weight.view(shape) + self.bias.view(shape)
        return out

    @torch.no_grad()
    def _move_statistics(self, mean: Tensor, variance: Tensor) -> None:
        seen, means, variances = self.num_batches_tracked, self.running_mean, self.running_var
        if seen is None or means is None or variances is None:
            return
        seen.add_(1)
        share = 1 / float(seen) if self.momentum is None else self.momentum
        means.lerp_(mean.to(means), share)
        variances.lerp_(variance.to(variances), share)


def synchronised(module: nn.Module, device: str = "cpu") -> nn.Module:
    """Make every BatchNorm of a module one of all processes, in place where it can be.

    On a GPU that is torch's own, which does not run elsewhere. Names and tensors stay.
    """
    if device.startswith("cuda"):
        return nn.SyncBatchNorm.convert_sync_batchnorm(module)
    if isinstance(module, _BatchNorm):
        made = SyncedBatchNorm(
            module.num_features,
            module.eps,
            module.momentum,
            module.affine,
            module.track_running_stats,
        )
        tensors: dict[str, Any] = vars(made)
        tensors["_parameters"], tensors["_buffers"] = module._parameters, module._buffers
        made.training = module.training
        return made
    for name, child in module.named_children():
        setattr(module, name, synchronised(child))
    return module
