"""Training on a CPU: attention in float32 under autocast, and memory that stays in the process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from fastreid_compat import cpu_speed
from fastreid_compat.cpu_speed import MALLOC_SETTINGS, keep_freed_memory
from small_trainer import SmallTrainer, small_cfg

# Page faults of 20 tensors of 64 MB that are filled and freed, one after the other; with 4 KB pages
# 327,680, unless the memory of five before them serves all. "kept" is what the call returns.
COUNT_FAULTS = """
import resource, sys
import fastreid_compat, torch
from fastreid_compat.cpu_speed import keep_freed_memory
kept = sys.argv[1] == "keep" and keep_freed_memory()
for _ in range(5):
    torch.ones(16 << 20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    torch.ones(16 << 20)
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def queries_keys_values(dtype: torch.dtype) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    made = [torch.randn(4, 2, 9, 16, generator=generator).to(dtype) for _ in range(3)]
    return [tensor.requires_grad_() for tensor in made]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("given", [torch.float32, None])
@pytest.mark.parametrize(
    "options",
    [{}, {"is_causal": True}, {"scale": 0.5}, {"attn_mask": torch.randn(9, 9)}],
    ids=["plain", "causal", "scale", "mask"],
)
def test_attention_under_autocast_is_that_of_float32(dtype, given, options) -> None:
    q, k, v = queries_keys_values(given or dtype)
    if "attn_mask" in options:  # attention takes a mask of the type of its other input
        options = {"attn_mask": options["attn_mask"].to(given or dtype)}
    with torch.autocast("cpu", dtype=dtype):
        out = F.scaled_dot_product_attention(q, k, v, **options)
    exact = {key: x.float() if key == "attn_mask" else x for key, x in options.items()}
    expected = F.scaled_dot_product_attention(q.float(), k.float(), v.float(), **exact).to(dtype)
    assert out.dtype is dtype
    assert torch.equal(out, expected)
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    for ours, theirs in zip(
        torch.autograd.grad(out, (q, k, v), weights),
        torch.autograd.grad(expected, (q, k, v), weights),
        strict=True,
    ):
        assert torch.equal(ours, theirs)


def test_attention_outside_of_autocast_is_torchs_own() -> None:
    q, k, v = queries_keys_values(torch.bfloat16)
    inside = torch.nn.Linear(16, 16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert inside(q.float()).dtype is torch.bfloat16  # other layers stay as they were
    own = F.scaled_dot_product_attention(q, k, v)
    in_float32 = F.scaled_dot_product_attention(q.float(), k.float(), v.float()).bfloat16()
    assert not torch.equal(own, in_float32)


def test_attention_of_doubles_stays_double() -> None:
    q, k, v = queries_keys_values(torch.float64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = F.scaled_dot_product_attention(q, k, v)
    assert torch.equal(out, F.scaled_dot_product_attention(q, k, v))
    assert out.dtype is torch.float64


def test_attention_of_a_compiled_function() -> None:
    q, k, v = queries_keys_values(torch.bfloat16)
    # Tracing alone: no C++ compiler is needed.
    attention = torch.compile(F.scaled_dot_product_attention, backend="aot_eager")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        compiled, plain = attention(q, k, v), F.scaled_dot_product_attention(q, k, v)
    assert torch.equal(compiled, plain)


def page_faults(mode: str) -> tuple[bool, int]:
    environment = {k: v for k, v in os.environ.items() if k not in MALLOC_SETTINGS}
    command = [sys.executable, "-c", COUNT_FAULTS, mode]
    out = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    kept, faults = out.stdout.split()
    return kept == "True", int(faults)


@pytest.mark.skipif(sys.platform != "linux", reason="page faults of Linux are counted")
def test_freed_memory_is_used_again() -> None:
    kept, faults = page_faults("keep")
    if not kept:
        pytest.skip("this C library is not glibc")
    assert faults < 1000
    assert page_faults("leave")[1] > 4000  # with pages of 64 KB: 20,480


@pytest.mark.parametrize("name", MALLOC_SETTINGS)
def test_malloc_that_the_environment_sets_is_left_alone(name: str, monkeypatch) -> None:
    monkeypatch.setenv(name, "glibc.malloc.mmap_max=65536" if name == "GLIBC_TUNABLES" else "65536")
    assert not keep_freed_memory()


def test_a_trainer_on_a_cpu_keeps_memory(tmp_path: Path, monkeypatch) -> None:
    calls = []
    monkeypatch.setattr(cpu_speed, "keep_freed_memory", lambda: calls.append(1))
    SmallTrainer(small_cfg(tmp_path))
    assert calls == [1]
