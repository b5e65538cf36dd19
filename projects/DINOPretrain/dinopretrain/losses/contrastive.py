"""Contrastive losses: a query is to find its own key among others.

Source: van den Oord et al., arXiv 1807.03748 (InfoNCE); He et al., "Momentum Contrast for
Unsupervised Visual Representation Learning", CVPR 2020, equation 1; Chen et al., "An Empirical
Study of Training Self-Supervised Vision Transformers", ICCV 2021, algorithm 1.

Letters: B queries of this process, N keys of all, C dimensions, K keys in the queue.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .precision import precise


def queue_logits(queries: Tensor, keys: Tensor, queue: Tensor, temperature: float) -> Tensor:
    """Logits (B, 1 + K): the query's own key first, then the queue's.

    Args:
        queries: (B, C), each of length 1.
        keys: (B, C), likewise; key i belongs to query i.
        queue: (C, K), columns of length 1.
        temperature: tau.
    """
    queries, keys = precise(queries), precise(keys)
    own = (queries * keys).sum(1, keepdim=True)
    return torch.cat([own, queries @ queue.to(queries)], dim=1) / temperature


def first_is_right(logits: Tensor) -> Tensor:
    """Cross entropy, mean over B, of logits (B, n) whose first is the right one."""
    return F.cross_entropy(logits, logits.new_zeros(len(logits), dtype=torch.long))


def batch_logits(queries: Tensor, all_keys: Tensor, temperature: float) -> Tensor:
    """Logits (B, N) of queries (B, C) and the keys (N, C) of all processes, each of length 1."""
    return precise(queries) @ precise(all_keys).T / temperature


def own_is_right(logits: Tensor, first: int) -> Tensor:
    """Cross entropy, mean over B, of logits (B, N) where ``first`` + i is right for query i."""
    return F.cross_entropy(logits, first + torch.arange(len(logits), device=logits.device))
