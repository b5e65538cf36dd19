"""Distances on any machine: Jaccard re-ranking without a GPU, no deprecated calls, small sets.

Features are (N, D) float32 tensors; distances come back as numpy arrays.
"""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np
import torch
from fastreid.evaluation import query_expansion
from fastreid.utils import compute_dist, faiss_utils

from ...registry import Original, fix, rebind, replaces, source_has

CPU_SEARCH = 3  # FastReID's search_option for a faiss index on the CPU


def gpu_search_works() -> bool:
    """Whether there is a GPU and a faiss that can use it."""
    return torch.cuda.is_available() and hasattr(faiss, "StandardGpuResources")


@fix(
    where="utils/compute_dist.py:53,68,76",
    symptom="TEST.RERANK: Found no NVIDIA driver, or faiss has no attribute StandardGpuResources; "
    "sets smaller than K1 count faiss's -1 as the last image",
)
@replaces(compute_dist, "compute_jaccard_distance", "res = faiss.StandardGpuResources()")
def jaccard_anywhere(
    original: Original,
    features: torch.Tensor,
    k1: int = 20,
    k2: int = 6,
    search_option: int = 0,
    fp16: bool = False,
) -> np.ndarray:
    """Search on the CPU where faiss has no GPU, and for at most as many images as there are."""
    k1, k2 = min(k1, len(features)), min(k2, len(features))
    if not gpu_search_works():
        search_option, features = CPU_SEARCH, features.float().cpu()
    return original(features.contiguous(), k1, k2, search_option, fp16)


@fix(
    where="utils/faiss_utils.py:19",
    since="faiss (seen with 1.15)",
    symptom="TEST.RERANK on a GPU: module 'faiss' has no attribute 'cast_integer_to_long_ptr'",
)
def faiss_index_pointer() -> bool:
    """Cast the pointers of index tensors with the name that faiss uses now."""
    original = faiss_utils.swig_ptr_from_LongTensor
    if hasattr(faiss, "cast_integer_to_long_ptr"):
        return False
    if not source_has(original, "faiss.cast_integer_to_long_ptr("):
        return False

    def swig_ptr_from_LongTensor(x: torch.Tensor) -> Any:
        if not x.is_contiguous() or x.dtype != torch.int64:
            raise ValueError(f"expected a contiguous int64 tensor, got {x.dtype} of {x.stride()}")
        return faiss.cast_integer_to_idx_t_ptr(x.data_ptr())

    rebind(original, swig_ptr_from_LongTensor)
    return True


@fix(
    where="utils/compute_dist.py:183",
    since="torch 1.5",
    symptom="UserWarning at each evaluation: this overload of addmm_ is deprecated",
)
@replaces(compute_dist, "compute_euclidean_distance", "addmm_(1, -2,")
@torch.no_grad()
def euclidean_distance(_: Original, features: torch.Tensor, others: torch.Tensor) -> np.ndarray:
    """Compute the squared Euclidean distance with the overload that stays."""
    squares = features.pow(2).sum(1, keepdim=True) + others.pow(2).sum(1)
    return squares.addmm_(features, others.t(), beta=1, alpha=-2).cpu().numpy()


@fix(
    where="evaluation/query_expansion.py:37",
    symptom="TEST.AQE on fewer than QE_K + 1 images: kth out of bounds; GPU tensors: no numpy()",
)
@replaces(query_expansion, "aqe", "np.argpartition(-sim, range(1, qe_k + 1))")
def expansion_of_small_sets(
    original: Original,
    query_feat: torch.Tensor,
    gallery_feat: torch.Tensor,
    qe_times: int = 1,
    qe_k: int = 10,
    alpha: float = 3.0,
) -> Any:
    """Expand queries with at most as many neighbours as there are, on the CPU."""
    qe_k = min(qe_k, len(query_feat) + len(gallery_feat) - 1)
    return original(query_feat.cpu(), gallery_feat.cpu(), qe_times, qe_k, alpha)
