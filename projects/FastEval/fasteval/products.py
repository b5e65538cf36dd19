"""Inner products of features, which distances and the search for neighbours are made of."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def products(left: Tensor, right: Tensor, out: Tensor | None = None) -> Tensor:
    """Return the inner products (n, m) of ``left`` (n, D) and ``right`` (m, D), of their dtype.

    On a CPU numpy makes those of float32: its OpenBLAS is up to 1.6 times as fast as torch's MKL
    on processors of AMD.
    """
    if left.device.type != "cpu" or left.dtype != torch.float32:
        return torch.mm(left, right.t(), out=out)
    given = None if out is None else out.numpy()
    return torch.from_numpy(np.matmul(left.detach().numpy(), right.detach().numpy().T, out=given))
