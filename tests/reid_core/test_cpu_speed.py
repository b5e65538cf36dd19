"""Training on a CPU: attention in float32 under autocast, and memory that stays in the process."""

from __future__ import annotations

import inspect
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from reid_core.run import cpu_speed
from reid_core.run.cpu_speed import MALLOC_SETTINGS, TUNABLES, keep_freed_memory, malloc_setting
from small_trainer import SmallTrainer, small_cfg

# Page faults of 20 tensors of 64 MB that are filled and freed, one after the other; with 4 KB pages
# 327,680, unless the memory of five before them serves all. "kept" is what the call returns.
COUNT_FAULTS = """
import resource, sys
import fastreid_compat, torch
from reid_core.run.cpu_speed import keep_freed_memory
kept = sys.argv[1] == "keep" and keep_freed_memory()
for _ in range(5):
    torch.ones(16 << 20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    torch.ones(16 << 20)
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.fixture(autouse=True)
def _attention_in_float32() -> Iterator[None]:
    """As on the CPUs that are left alone, should this be one of them."""
    before = [*cpu_speed._libraries]
    cpu_speed.train_attention_in_float32()
    yield
    if not before:
        cpu_speed._libraries.pop()._destroy()


def queries_keys_values(dtype: torch.dtype, heads: int = 2) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = [(4, 2, 9, 16), (4, heads, 9, 16), (4, heads, 9, 16)]
    made = [torch.randn(shape, generator=generator).to(dtype) for shape in shapes]
    return [tensor.requires_grad_() for tensor in made]


def gradients(out: torch.Tensor, inputs: list[torch.Tensor]) -> tuple[torch.Tensor, ...]:
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).to(out.dtype)
    return torch.autograd.grad(out, inputs, weights)


OPTIONS = {
    "plain": {},
    "causal": {"is_causal": True},
    "scale": {"scale": 0.5},
    "mask": {"attn_mask": torch.randn(9, 9)},
    "mask_of_booleans": {"attn_mask": torch.rand(9, 9) < 0.7},
    "dropout": {"dropout_p": 0.5},
}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("given", [torch.float32, None])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=list(OPTIONS))
def test_attention_under_autocast_is_that_of_float32(dtype, given, options) -> None:
    q, k, v = queries_keys_values(given or dtype)
    options, exact = dict(options), dict(options)
    mask = options.get("attn_mask")
    if mask is not None and mask.is_floating_point():
        # Attention takes a mask of the type of its other input.
        options["attn_mask"] = mask.to(given or dtype)
        exact["attn_mask"] = options["attn_mask"].float()
    torch.manual_seed(2)
    with torch.autocast("cpu", dtype=dtype):
        out = F.scaled_dot_product_attention(q, k, v, **options)
    torch.manual_seed(2)
    expected = F.scaled_dot_product_attention(q.float(), k.float(), v.float(), **exact).to(dtype)
    assert out.dtype is dtype
    assert torch.equal(out, expected)
    for ours, theirs in zip(gradients(out, [q, k, v]), gradients(expected, [q, k, v]), strict=True):
        assert torch.equal(ours, theirs)


def test_a_learnt_mask_gets_its_gradient() -> None:
    q, k, v = (x.detach() for x in queries_keys_values(torch.bfloat16))
    mask = torch.randn(9, 9).bfloat16().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = F.scaled_dot_product_attention(q, k, v, mask)
    (expected,) = gradients(
        F.scaled_dot_product_attention(q.float(), k.float(), v.float(), mask.float()).bfloat16(),
        [mask],
    )
    (found,) = gradients(out, [mask])
    assert torch.equal(found, expected)


def test_queries_that_share_keys() -> None:
    q, k, v = queries_keys_values(torch.bfloat16, heads=1)
    try:
        exact = F.scaled_dot_product_attention(q.float(), k.float(), v.float(), enable_gqa=True)
    except TypeError:
        pytest.skip("torch 2.4 has no enable_gqa")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = F.scaled_dot_product_attention(q, k, v, enable_gqa=True)
    assert torch.equal(out, exact.bfloat16())


@pytest.mark.parametrize("given", [torch.float32, torch.bfloat16])
def test_attention_without_gradients_is_torchs_own(given) -> None:
    q, k, v = queries_keys_values(given)
    own = F.scaled_dot_product_attention(q.bfloat16(), k.bfloat16(), v.bfloat16())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with torch.no_grad():
            assert torch.equal(F.scaled_dot_product_attention(q, k, v), own)
        frozen = F.scaled_dot_product_attention(q.detach(), k.detach(), v.detach())
        assert torch.equal(frozen, own)
        assert not torch.equal(F.scaled_dot_product_attention(q, k, v), own)


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


def test_types_that_do_not_go_together_are_refused_as_by_torch() -> None:
    q, k, v = queries_keys_values(torch.float64)
    with torch.autocast("cpu", dtype=torch.bfloat16), pytest.raises(RuntimeError):
        F.scaled_dot_product_attention(q.float(), k, v)
    with torch.autocast("cpu", dtype=torch.bfloat16), pytest.raises(RuntimeError):
        F.scaled_dot_product_attention(q.long(), k.long(), v.long())


def test_attention_of_a_compiled_function() -> None:
    q, k, v = queries_keys_values(torch.bfloat16)
    # Tracing alone: no C++ compiler is needed.
    attention = torch.compile(F.scaled_dot_product_attention, backend="aot_eager")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        compiled, plain = attention(q, k, v), F.scaled_dot_product_attention(q, k, v)
    assert torch.equal(compiled, plain)


@pytest.mark.parametrize(
    "machine, amx", [("aarch64", False), ("x86_64", True), ("x86_64", None), ("AMD64", False)]
)
def test_cpus_that_were_not_measured_are_left_alone(machine, amx, monkeypatch) -> None:
    calls = []
    monkeypatch.setattr(cpu_speed, "train_attention_in_float32", lambda: calls.append(1))
    monkeypatch.setattr(cpu_speed.platform, "machine", lambda: machine)
    if amx is None:  # torch 2.4 cannot tell
        monkeypatch.delattr(torch.cpu, "_is_amx_tile_supported", raising=False)
    else:
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx, raising=False)
    repair = inspect.unwrap(cpu_speed.cpu_attention_in_float32)
    assert repair() == bool(calls) == (machine == "AMD64")


def page_faults(mode: str) -> tuple[bool, int]:
    environment = {k: v for k, v in os.environ.items() if k not in (*MALLOC_SETTINGS, TUNABLES)}
    command = [sys.executable, "-c", COUNT_FAULTS, mode]
    out = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    kept, faults = out.stdout.split()
    return kept == "True", int(faults)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_freed_memory_is_used_again() -> None:
    kept, faults = page_faults("keep")
    assert kept
    assert faults < 1000
    assert page_faults("leave")[1] > 4000  # with pages of 64 KB: 20,480


class _Library:
    """A C library whose mallopt notes what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[int, int]] = []

    def mallopt(self, key: int, value: int) -> int:
        self.told.append((key, value))
        return 1


@pytest.mark.skipif(os.name != "posix", reason="no mallopt")
@pytest.mark.parametrize(
    "name, value, kept",
    [
        *((name, "65536", False) for name in MALLOC_SETTINGS),
        (TUNABLES, "glibc.pthread.rseq=0:glibc.malloc.mmap_max=65536", False),
        (TUNABLES, "glibc.pthread.rseq=0", True),
        ("HOME", "/", True),
    ],
)
def test_malloc_that_the_environment_sets_is_left_alone(name, value, kept, monkeypatch) -> None:
    for other in (*MALLOC_SETTINGS, TUNABLES):
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv(name, value)
    assert malloc_setting() == ("" if kept else f"{name}={value}")
    library = _Library()
    monkeypatch.setattr(cpu_speed.ctypes, "CDLL", lambda _: library)
    assert keep_freed_memory() == kept == bool(library.told)


@pytest.mark.skipif(os.name != "posix", reason="no mallopt")
def test_another_c_library_is_left_alone(monkeypatch) -> None:
    monkeypatch.setattr(cpu_speed.ctypes, "CDLL", lambda _: object())
    assert not keep_freed_memory()


@pytest.mark.parametrize("device", ["cpu", "cuda:0"])
@pytest.mark.parametrize("setting", ["", "65536"])
def test_a_trainer_on_a_cpu_keeps_memory(device, setting, tmp_path: Path, monkeypatch) -> None:
    calls, said = [], []
    monkeypatch.setenv("MALLOC_MMAP_MAX_", setting)
    monkeypatch.setattr(cpu_speed, "keep_freed_memory", lambda: calls.append(1))
    monkeypatch.setattr(cpu_speed, "resolve_device", lambda cfg: device)
    monkeypatch.setattr(cpu_speed.logger, "info", said.append)
    SmallTrainer(small_cfg(tmp_path))
    assert len(calls) == (device == "cpu")
    assert len(said) == bool(device == "cpu" and setting)
    assert all(text.startswith("MALLOC_MMAP_MAX_=65536 is set") for text in said)
