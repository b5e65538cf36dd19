"""Training on a CPU: what costs a step much of its time there, and nothing on a GPU."""

from __future__ import annotations

import ctypes
import functools
import os
import warnings
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from fastreid.engine import defaults
from torch import Tensor

from .fixes import fix
from .settings import resolve_device

# Of glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
# Whoever sets one of them has chosen; GLIBC_TUNABLES may hold the same settings.
MALLOC_SETTINGS = (
    "MALLOC_MMAP_MAX_",
    "MALLOC_MMAP_THRESHOLD_",
    "MALLOC_TRIM_THRESHOLD_",
    "GLIBC_TUNABLES",
)

# A registration lasts as long as its library.
_libraries: list[torch.library.Library] = []


@fix(
    where="engine/train_loop.py:335",
    since="torch 2.1 (fused attention on CPUs)",
    symptom="AMP on a CPU: attention's backward pass takes 1.4 to 10 times as long as in float32",
)
def cpu_attention_in_float32() -> bool:
    """Under autocast on a CPU, calculate scaled_dot_product_attention in float32.

    Its input and output stay in autocast's type. Float32 is what autocast takes where the lower
    precision does not pay: of fused attention's many small products none does.
    """
    library = torch.library.Library("aten", "IMPL")
    with warnings.catch_warnings():
        # That torch's own entry for CPUs is replaced.
        warnings.simplefilter("ignore", UserWarning)
        library.impl("scaled_dot_product_attention", _attention, "AutocastCPU")
    _libraries.append(library)
    return True


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    *args: Any,
    **options: Any,
) -> Tensor:
    """Attention of (..., L, D) in autocast's type; of doubles, which autocast leaves, in theirs."""
    dtype = query.dtype
    if dtype is not torch.float64:
        dtype = torch.get_autocast_dtype("cpu")
        query, key, value = query.float(), key.float(), value.float()
        if attn_mask is not None and attn_mask.is_floating_point():
            attn_mask = attn_mask.float()
    with torch.autocast("cpu", enabled=False):
        out = F.scaled_dot_product_attention(query, key, value, attn_mask, *args, **options)
    return out.to(dtype)


@fix(
    where="engine/defaults.py:223",
    since="always",
    symptom="on a CPU a tenth of a step and more goes into fetching memory just given back",
)
def cpu_training_keeps_memory() -> bool:
    """A trainer on a CPU keeps the memory of freed tensors for the next step."""
    cls = defaults.DefaultTrainer
    original: Callable[[Any, Any], None] = cls.__init__

    @functools.wraps(original)
    def __init__(self: Any, cfg: Any) -> None:
        if torch.device(resolve_device(cfg)).type == "cpu":
            keep_freed_memory()
        original(self, cfg)

    cls.__init__ = __init__
    return True


def keep_freed_memory() -> bool:
    """Let the C library keep freed memory instead of returning it to the system.

    glibc maps each block above its threshold, 32 MB at most, from the system and unmaps it at once
    when it is freed: the next step's tensor of the same size gets new pages, which the system fills
    with zeros, one page fault each. The process keeps what it once had, up to a third more than
    without.

    Returns:
        Whether it does: not without glibc, and not where the environment sets malloc itself
        (MALLOC_SETTINGS), as MALLOC_MMAP_MAX_=65536, glibc's own value.
    """
    if os.name != "posix" or any(os.environ.get(name) for name in MALLOC_SETTINGS):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, -1))
