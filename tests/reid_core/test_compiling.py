"""MODEL.COMPILE: the same results and keys, other batch sizes, resuming, what it needs."""

from __future__ import annotations

import shutil
import sysconfig
from pathlib import Path

import pytest
import torch
from fastreid.modeling.meta_arch import build_model
from reid_common.errors import UserError
from reid_core.run import compiling
from reid_core.run.compile_modes import mode_on, separate_steps
from reid_core.run.compiling import check_compiler, compile_model
from reid_core.run.validation import validate_config
from small_trainer import ITERS_PER_EPOCH, KillAt, Killed, SmallTrainer, small_cfg
from torch import nn


class Block(nn.Module):
    """Linear layer, GELU, dropout."""

    def __init__(self, drop: float) -> None:
        super().__init__()
        self.linear, self.drop = nn.Linear(8, 8), nn.Dropout(drop)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.drop(nn.functional.gelu(self.linear(x)))


class Backbone(nn.Module):
    """Two blocks of one class, with different drop rates."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = Block(0.1), Block(0.2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(x))


class Mlp(nn.Module):
    """A model with a backbone."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Backbone()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.backbone(x)


@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
def test_compiled_kernels_give_the_same(tmp_path: Path) -> None:
    torch._dynamo.reset()
    plain, model = Mlp().eval(), Mlp().eval()
    model.load_state_dict(plain.state_dict())
    compile_model(model)
    with torch.no_grad():
        for batch in (4, 3, 7):
            x = torch.randn(batch, 8)
            torch.testing.assert_close(model(x), plain(x))
    assert list(model.state_dict()) == list(plain.state_dict())
    # As another run would, which finds the kernels of this one.
    torch._dynamo.reset()
    found = torch._dynamo.utils.counters["inductor"]
    found.clear()
    again = Mlp().eval()
    compile_model(again)
    with torch.no_grad():
        again(torch.randn(4, 8))
    assert found["fxgraph_cache_hit"] and not found["fxgraph_cache_miss"]


def test_only_the_named_parts_are_compiled() -> None:
    seen = []

    def backend(graph: torch.fx.GraphModule, inputs: list) -> object:
        seen.append([node.name for node in graph.graph.nodes if node.op.startswith("call")])
        return graph.forward

    torch._dynamo.reset()
    model = Mlp()
    model.parts_to_compile = lambda: [model.backbone.second]
    compile_model(model, backend=backend)
    model(torch.randn(2, 8))
    assert len(seen) == 1 and len(seen[0]) == 3  # linear, gelu, dropout of one block


class CompiledTrainer(SmallTrainer):
    """SmallTrainer with a compiled backbone; the kernels are torch's own."""

    @classmethod
    def build_model(cls, cfg):
        model = super().build_model(cfg)
        compile_model(model, backend="aot_eager")
        return model


def killed_and_resumed(trainer_class: type[SmallTrainer], folder: Path, start: dict) -> dict:
    """Weights of a run from ``start``, killed in its second epoch and resumed."""
    cfg = small_cfg(folder)
    cfg.SEED = 1
    killed = trainer_class(cfg)
    killed.model.load_state_dict(start)
    killed.register_hooks([KillAt(ITERS_PER_EPOCH + 1)])
    with pytest.raises(Killed):
        killed.train()
    resumed = trainer_class(cfg)
    resumed.resume_or_load(resume=True)
    resumed.train()
    return torch.load(folder / "model_final.pth", weights_only=False)["model"]


def test_a_compiled_run_resumes_and_is_the_same_run(tmp_path: Path) -> None:
    torch._dynamo.reset()
    start = SmallTrainer(small_cfg(tmp_path / "start")).model.state_dict()
    plain = killed_and_resumed(SmallTrainer, tmp_path / "plain", start)
    compiled = killed_and_resumed(CompiledTrainer, tmp_path / "compiled", start)
    assert list(compiled) == list(start)
    for key, value in plain.items():
        torch.testing.assert_close(compiled[key], value)
        assert not torch.equal(start[key], value)


def test_the_key_compiles_any_model_of_fastreid(tiny_cfg, monkeypatch) -> None:
    compiled = []
    monkeypatch.setattr(compiling, "compile_model", lambda *args, **more: compiled.append(args[0]))
    build_model(tiny_cfg)
    assert compiled == []
    tiny_cfg.MODEL.COMPILE = True
    model = build_model(tiny_cfg)
    assert compiled == [model]
    compile_model(model)
    assert model.backbone._compiled_call_impl is not None


@pytest.mark.parametrize("named, expected", [("", r"g\+\+ or clang\+\+"), ("icpx", "icpx")])
def test_without_a_compiler(tiny_cfg, monkeypatch, named: str, expected: str) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("CXX", named)
    tiny_cfg.MODEL.COMPILE = True
    with pytest.raises(UserError, match=rf"MODEL\.COMPILE.*no {expected} on this machine.*False"):
        validate_config(tiny_cfg, eval_only=True)
    with pytest.raises(UserError, match="needs a C"):
        compile_model(nn.Linear(1, 1))


def test_without_the_headers_of_python(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(compiling.shutil, "which", lambda name: "/usr/bin/" + name)
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    check_compiler("cuda")
    with pytest.raises(UserError, match=r"no .*Python\.h"):
        check_compiler("cpu")


def test_what_torch_cannot_compile_runs_eagerly(monkeypatch, caplog) -> None:
    torch._dynamo.reset()

    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("no Triton here\nand much more")

    monkeypatch.setattr("torch._inductor.compile_fx.compile_fx", fails)
    plain, model = Mlp(), Mlp()
    model.load_state_dict(plain.state_dict())
    compile_model(model)
    for drop in (plain.backbone.first.drop, plain.backbone.second.drop):
        drop.p = 0.0
    for drop in (model.backbone.first.drop, model.backbone.second.drop):
        drop.p = 0.0
    x = torch.randn(4, 8)
    for _ in range(3):
        torch.testing.assert_close(model(x), plain(x))
    assert "cannot compile a graph of 6 operators (RuntimeError: no Triton here); it" in caplog.text
    assert "1 of the 1 graph(s) run eagerly" in caplog.text
    assert "gave up" not in caplog.text


class Breaks(nn.Module):
    """A backbone that torch cannot have in one graph."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + 1
        torch._dynamo.graph_break()
        return x * 2


def test_a_broken_graph_is_warned_about_with_its_reason(caplog) -> None:
    torch._dynamo.reset()
    model = Mlp()
    model.parts_to_compile = lambda: [breaks]
    breaks = Breaks()
    model.backbone.add_module("breaks", breaks)
    compile_model(model, backend="eager")
    for _ in range(3):
        breaks(torch.ones(2))
        model(torch.ones(2, 8))
    assert "torch gave up 1 time(s)" in caplog.text
    assert "graph_break()" in caplog.text.partition("gave up")[2]


def test_cuda_graphs_need_cuda(caplog) -> None:
    with caplog.at_level("INFO"):
        compile_model(Mlp(), mode="reduce-overhead")
    assert "MODEL.COMPILE_MODE reduce-overhead needs a GPU: on cpu it is default" in caplog.text
    assert "MODEL.COMPILE: mode default; kernels are kept for later runs in" in caplog.text
    assert mode_on("cuda", "reduce-overhead") == "reduce-overhead"


def test_each_pass_is_a_step_of_cuda_graphs_and_features_outlive_it(monkeypatch) -> None:
    began = []
    monkeypatch.setattr(torch.compiler, "cudagraph_mark_step_begin", lambda: began.append(1))
    memory = torch.zeros(2)  # that each pass writes to, as a CUDA graph's

    class Replayed(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return memory.copy_(x)

    model = Replayed()
    separate_steps(model)
    first = model.eval()(torch.ones(2))
    model(torch.full((2,), 2.0))
    assert first.tolist() == [1, 1] and len(began) == 2
    assert model.train()(torch.ones(2)) is memory
