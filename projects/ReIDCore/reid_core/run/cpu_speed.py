"""Training on a CPU: what costs a step much of its time there, and nothing on a GPU."""

from __future__ import annotations

import ctypes
import functools
import logging
import os
import platform
import warnings
from typing import Any

import torch
import torch.nn.functional as F
from fastreid.engine import defaults
from fastreid_compat.registry import fix
from fastreid_compat.repairs.config.settings import resolve_device
from torch import Tensor

# Of glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
# Whoever sets one of them has chosen.
MALLOC_SETTINGS = ("MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_")
TUNABLES = "GLIBC_TUNABLES"  # the same and others: "glibc.malloc.mmap_max=0:glibc.pthread.rseq=0"

logger = logging.getLogger(__name__)
# A registration lasts as long as its library.
_libraries: list[torch.library.Library] = []


@fix(
    where="engine/train_loop.py:335",
    since="torch 2.1 (fused attention on CPUs)",
    symptom="AMP on a CPU: attention's backward pass takes 1.4 to 10 times as long as in float32",
)
def cpu_attention_in_float32() -> bool:
    """Train attention in float32 under autocast; with AMX or on other than x86: not measured."""
    # Of torch's own, this is there from 2.5 on; the public get_capabilities() is younger.
    has_amx = getattr(torch.cpu, "_is_amx_tile_supported", None)
    if platform.machine().lower() not in ("x86_64", "amd64") or has_amx is None or has_amx():
        return False
    train_attention_in_float32()
    return True


def train_attention_in_float32() -> None:
    """Calculate scaled_dot_product_attention in float32 under autocast on a CPU, if it is trained.

    The output has autocast's type. In the many small products of fused attention's backward pass
    the lower precision does not pay. Without gradients attention stays torch's own.
    """
    if _libraries:
        return
    library = torch.library.Library("aten", "IMPL")
    with warnings.catch_warnings():
        # That torch's own entry for CPUs is replaced.
        warnings.simplefilter("ignore", UserWarning)
        library.impl("scaled_dot_product_attention", _attention, "AutocastCPU")
    _libraries.append(library)


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    *args: Any,
    **kw: Any,
) -> Tensor:
    """Attention of (..., L, D) in autocast's type; of doubles, which autocast leaves, in theirs."""
    dtype = torch.get_autocast_dtype("cpu")
    given = [tensor for tensor in (query, key, value, attn_mask) if tensor is not None]
    trained = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in given)
    wanted = torch.float32 if trained else dtype
    query, key, value = _cast(query, wanted), _cast(key, wanted), _cast(value, wanted)
    mask = None if attn_mask is None else _cast(attn_mask, wanted)
    with torch.autocast("cpu", enabled=False):
        out = F.scaled_dot_product_attention(query, key, value, mask, *args, **kw)
    return _cast(out, dtype)


def _cast(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """What autocast casts, in ``dtype``: no doubles, nor masks of booleans."""
    if not tensor.is_floating_point() or tensor.dtype is torch.float64:
        return tensor
    return tensor.to(dtype)


@fix(
    where="engine/defaults.py:223",
    symptom="on a CPU up to a quarter of a step goes into fetching memory just given back",
)
def cpu_training_keeps_memory() -> bool:
    """A trainer on a CPU keeps the memory of freed tensors for the next step."""
    cls: Any = defaults.DefaultTrainer
    original = cls.__init__

    @functools.wraps(original)
    def __init__(self: Any, cfg: Any) -> None:
        on_cpu = torch.device(resolve_device(cfg)).type == "cpu"
        if on_cpu:
            keep_freed_memory()
        original(self, cfg)  # sets up the log
        if on_cpu and malloc_setting():
            logger.info(f"{malloc_setting()} is set: freed memory is handled as it says")

    cls.__init__ = __init__
    return True


def malloc_setting() -> str:
    """What the environment tells malloc itself, as "MALLOC_MMAP_MAX_=65536" (glibc's own value)."""
    for name in (*MALLOC_SETTINGS, TUNABLES):
        value = os.environ.get(name, "")
        if value and (name != TUNABLES or "glibc.malloc." in value):
            return f"{name}={value}"
    return ""


def keep_freed_memory() -> bool:
    """Let glibc keep freed memory instead of returning it to the system.

    glibc maps each block above its threshold, 32 MB at most, from the system and unmaps it at once
    when it is freed: the next step's tensor of the same size gets new pages, which the system fills
    with zeros, one page fault each.

    Returns:
        Whether glibc has been told so: not without it, and not with a :func:`malloc_setting`.
        Another allocator in its place (LD_PRELOAD) does not listen.
    """
    if os.name != "posix" or malloc_setting():
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", lambda *setting: 0)
    return bool(mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, -1))
