"""MODEL.COMPILE of TransReID: the same losses, gradients and features; checks of ids stay."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from fastreid.modeling.meta_arch import build_model
from fastreid.utils.events import EventStorage
from python_forks import run_together
from reid_common.errors import UserError
from reid_core.config import load_config
from reid_core.config.declaration import check_config
from reid_core.run.compiling import compile_model
from timm.layers import DropPath
from torch import Tensor
from torch.torch_version import TorchVersion
from transreid.config_rules import RULES
from transreid.modeling.drop_path import share_drop_paths
from transreid_configs import CONFIGS, LEAVES, config_of, random_batch

OLD = torch.__version__ < "2.5"


def build(head: str, **options: object) -> torch.nn.Module:
    keys = {
        "MODEL.DEVICE": "cpu",
        "MODEL.META_ARCHITECTURE": "TransReID",
        "MODEL.BACKBONE.NAME": "build_transreid_backbone",
        "MODEL.BACKBONE.TIMM_NAME": "vit_tiny_patch16_224",
        "MODEL.BACKBONE.NUM_BLOCKS": 3,
        "MODEL.BACKBONE.FEAT_DIM": 192,
        "MODEL.BACKBONE.PRETRAIN": False,
        "MODEL.BACKBONE.DROP_PATH_RATIO": 0.0,
        "MODEL.BACKBONE.STRIDE_SIZE": [16, 16],
        "MODEL.HEADS.NAME": head,
        "MODEL.HEADS.NUM_CLASSES": 4,
        "MODEL.LOSSES.NAME": ("CrossEntropyLoss", "TripletLoss"),
        "MODEL.SIE.CAMERA": True,
        "MODEL.SIE.NUM_CAMERAS": 3,
        "INPUT.SIZE_TRAIN": [64, 32],
        "INPUT.SIZE_TEST": [64, 32],
        **{key.replace("__", "."): value for key, value in options.items()},
    }
    return build_model(load_config(options=[item for pair in keys.items() for item in pair]))


def batch(count: int) -> dict[str, Tensor]:
    return {
        "images": torch.rand(count, 3, 64, 32) * 255,
        "targets": torch.arange(count) // 2,
        "camids": torch.arange(count) % 3,
    }


WITHOUT_2_4 = pytest.mark.skipif(OLD, reason="torch 2.4 cannot")


# Blocks and branches are the same with either head: gradients are compiled once with each way.
@pytest.mark.parametrize(
    "head, checkpointing, backend",
    [
        ("JPMHead", False, "eager"),
        pytest.param("JPMHead", True, "aot_eager", marks=WITHOUT_2_4),
        ("BNNeckHead", False, "aot_eager"),
        pytest.param("BNNeckHead", True, "eager", marks=WITHOUT_2_4),
    ],
)
def test_compiled_is_the_same(head: str, checkpointing: bool, backend: str) -> None:
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    key = {
        "MODEL__BACKBONE__GRADIENT_CHECKPOINTING": checkpointing,
        "MODEL__BACKBONE__NUM_BLOCKS": 2,
    }
    plain, compiled = build(head, **key), build(head, **key)
    compiled.load_state_dict(plain.state_dict())
    compile_model(compiled, backend=backend)
    assert list(compiled.state_dict()) == list(plain.state_dict())
    data = batch(8)
    with EventStorage(0):
        for model in (plain.train(), compiled.train()):
            torch.stack(list(model(data).values())).sum().backward()
    for ours, theirs in zip(compiled.parameters(), plain.parameters(), strict=True):
        if ours.requires_grad:
            torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-4, rtol=1e-3)
    plain.eval()
    compiled.eval()
    with torch.no_grad():
        for count in (8, 3, 1) if head == "BNNeckHead" else (3, 1):
            data = batch(count)
            torch.testing.assert_close(compiled(data), plain(data), atol=1e-5, rtol=1e-4)
    assert not torch._dynamo.utils.counters["graph_break"]


@pytest.mark.parametrize("head, blocks, graphs", [("BNNeckHead", 12, 3), ("JPMHead", 4, 5)])
def test_blocks_with_drop_path_share_a_graph(head, blocks, graphs, caplog) -> None:
    """Each block has a rate of its own; the first has none, and one graph is of the losses.

    JPM's branches are two more.
    """
    torch._dynamo.reset()
    counters = torch._dynamo.utils.counters
    counters.clear()
    options = {"MODEL__BACKBONE__NUM_BLOCKS": blocks, "MODEL__BACKBONE__DROP_PATH_RATIO": 0.1}
    model = build(head, **options).train()
    keys = list(model.state_dict())
    with caplog.at_level("INFO"):
        compile_model(model, backend="eager")
        with EventStorage(0):
            sum(model(batch(4)).values()).backward()
            with torch._dynamo.config.patch(error_on_recompile=True):
                for _ in range(3):
                    sum(model(batch(4)).values()).backward()
    assert counters["stats"]["unique_graphs"] == graphs and not counters["graph_break"]
    assert f"MODEL.COMPILE: {graphs} graph(s) after 3 training passes" in caplog.text
    assert "gave up" not in caplog.text
    assert list(model.state_dict()) == keys


def graph_of(path: Path) -> tuple[object, ...]:
    """What decides which graphs the blocks of a config become."""
    model = config_of(path).MODEL
    backbone = model.BACKBONE
    sides = model.SIE.CAMERA, model.SIE.VIEW
    return backbone.NAME, backbone.STEM, "dinov3" in backbone.TIMM_NAME, model.HEADS.NAME, *sides


# Swins are not compiled; of FastReID's ResNets the smallest: MGN's ResNet-50 takes long.
COMPILED = [path for path in LEAVES if path.stem.partition("_")[0] not in ("solider", "luperson")]
GRAPHS = {graph_of(path): path for path in reversed(COMPILED)}.values()
PLAIN = ("vit_small_patch16_224", "vit_base_patch16_224", "deit_base_distilled_patch16_224")
WARM_UP = 2  # passes; FastReID's ResNets change an attribute in the first


@pytest.mark.parametrize("path", GRAPHS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_every_kind_of_config_compiles_once(path: Path) -> None:
    """No graph breaks, and none is made again, at drop path 0.1."""
    torch._dynamo.reset()
    counters = torch._dynamo.utils.counters
    counters.clear()
    small = {"NUM_BLOCKS": 2, "DROP_PATH_RATIO": 0.1, "PRETRAIN": False, "STRIDE_SIZE": [16, 16]}
    backbone = load_config(path).MODEL.BACKBONE
    if backbone.NAME == "build_transreid_backbone" and backbone.TIMM_NAME in PLAIN:
        small |= {"TIMM_NAME": "vit_tiny_patch16_224", "FEAT_DIM": 192}
    options: list[object] = ["MODEL.DEVICE", "cpu", "MODEL.HEADS.NUM_CLASSES", 4]
    options += ["INPUT.SIZE_TRAIN", [128, 64], "INPUT.SIZE_TEST", [128, 64]]
    for key, value in small.items():
        options += [f"MODEL.BACKBONE.{key}", value]
    cfg = load_config(path, options)
    model = build_model(cfg).train()
    compile_model(model, backend="eager")
    data = random_batch(cfg)
    with EventStorage(0):
        for number in range(WARM_UP + 1):
            with torch._dynamo.config.patch(error_on_recompile=number == WARM_UP):
                sum(model(data).values()).backward()
    assert counters["stats"]["unique_graphs"] and not counters["graph_break"]


def test_a_shared_drop_path_is_timms() -> None:
    """A quarter of the samples is dropped, the others are scaled by 4 / 3; nothing without it."""
    (path,) = share_drop_paths([DropPath(0.25)])
    x = torch.ones(20000, 2, 3, dtype=torch.float64, requires_grad=True)
    out = path.train()(x)
    assert out.dtype is torch.float64 and torch.equal(out[:, 0, 0], out[:, 1, 2])
    dropped = (out[:, 0, 0] == 0).double().mean()
    assert dropped == pytest.approx(0.25, abs=0.02)
    torch.testing.assert_close(out.max(), torch.tensor(4 / 3).double())
    out.sum().backward()
    assert torch.equal(x.grad, out.detach())
    assert path.eval()(x) is x
    assert "keep" not in path.state_dict()


def test_ids_without_a_row_are_still_refused() -> None:
    model = build("JPMHead").eval()
    compile_model(model, backend="eager")
    with pytest.raises(UserError, match="camids holds 3"):
        model({**batch(2), "camids": torch.tensor([0, 3])})


def test_torch_2_4_cannot_recompute_compiled_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build("JPMHead", MODEL__BACKBONE__GRADIENT_CHECKPOINTING=True)
    monkeypatch.setattr(torch, "__version__", TorchVersion("2.4.1+cpu"))
    with pytest.raises(UserError, match=r"GRADIENT_CHECKPOINTING needs torch 2\.5"):
        compile_model(model)


def test_two_processes_that_compile_train_as_without(tmp_path: Path) -> None:
    """DistributedDataParallel over compiled parts, JPM's among them, whose blocks recompute."""
    done = run_together(2, Path(__file__).parent / "two_compiled.py", tmp_path)
    assert done.returncode == 0, done.stderr
    first, second = (torch.load(tmp_path / f"{rank}.pth") for rank in (0, 1))
    assert first["compiled"]["graph_breaks"] == 0 and first["compiled"]["graphs"] > 2
    for key, value in first["eager"]["weights"].items():
        close = {"atol": 1e-5, "rtol": 1e-5, "msg": key}
        torch.testing.assert_close(first["compiled"]["weights"][key], value, **close)
        if "running" not in key:  # each process has its own
            torch.testing.assert_close(second["compiled"]["weights"][key], value, **close)
    assert all(moved.any() for moved in first["eager"]["moved"])


def test_where_blocks_are_recomputed_cuda_graphs_are_refused() -> None:
    options = ["MODEL.COMPILE", True, "MODEL.COMPILE_MODE", "reduce-overhead"]
    options += ["MODEL.BACKBONE.GRADIENT_CHECKPOINTING", True]
    cfg = load_config(CONFIGS / "Base-TransReID.yml", options)
    with pytest.raises(UserError, match=r"COMPILE_MODE is reduce-overhead.*CHECKPOINTING is True"):
        check_config(cfg, [], RULES)
    for key in ("MODEL.COMPILE_MODE", "default"), ("MODEL.COMPILE", False):
        check_config(load_config(CONFIGS / "Base-TransReID.yml", [*options, *key]), [], RULES)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_cuda_graphs_train_as_without() -> None:
    torch._dynamo.reset()
    plain, replayed = (build("JPMHead", MODEL__DEVICE="cuda") for _ in range(2))
    replayed.load_state_dict(plain.state_dict())
    compile_model(replayed, mode="reduce-overhead")
    data = {name: value.cuda() for name, value in batch(8).items()}
    for model in (plain.train(), replayed.train()):
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
        with EventStorage(0):
            for _ in range(5):
                optimizer.zero_grad()
                sum(model(data).values()).backward()
                optimizer.step()
    for ours, theirs in zip(replayed.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-2)
    replayed.eval()
    with torch.no_grad():
        first = replayed(data)
        before = first.clone()
        replayed({**data, "images": data["images"] / 2})
    assert torch.equal(first, before)
