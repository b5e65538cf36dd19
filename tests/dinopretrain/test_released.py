"""Checkpoints of the released DINO: gone on from, written, and refused when they do not fit."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
import torch
from dinopretrain.engine.trainer import DINOTrainer
from dinopretrain.weights.released import from_released, to_released
from fastreid.modeling import build_model
from fastreid_compat.repairs.checkpoints.checkpoint_files import read_file
from reid_common.errors import UserError
from small_dino import assert_same_weights, start, write_noise
from small_methods import small_method_cfg
from torch import nn
from transreid.modeling.vits import create_vit


class ReleasedStyle(nn.Module):
    """Backbone and head with the modules, names and order of the released code."""

    def __init__(self, out_dim: int = 32, depth: int = 2, norm_last_layer: bool = True) -> None:
        super().__init__()
        self.backbone = create_vit("vit_tiny_patch16_224", depth)
        self.backbone.pos_embed = nn.Parameter(torch.randn(1, 1 + 3, 192))  # 32x16, stride 8
        head = nn.Module()
        layers = [nn.Linear(192, 32), nn.GELU(), nn.Linear(32, 32), nn.GELU(), nn.Linear(32, 16)]
        head.mlp = nn.Sequential(*layers)
        head.last_layer = nn.utils.weight_norm(nn.Linear(16, out_dim, bias=False))
        head.last_layer.weight_g.data.fill_(1)
        head.last_layer.weight_g.requires_grad = not norm_last_layer
        self.head = head

    def groups(self) -> list[dict]:
        decayed, plain = [], []
        for name, parameter in self.named_parameters():
            if parameter.requires_grad:
                small = name.endswith(".bias") or parameter.dim() == 1
                (plain if small else decayed).append(parameter)
        return [{"params": decayed}, {"params": plain, "weight_decay": 0.0}]


def step(named_parameters, optimizer: torch.optim.Optimizer, seed: int) -> None:
    """A step of AdamW with gradients that depend on the parameters' names alone."""
    for name, parameter in named_parameters:
        if parameter.requires_grad:
            generator = torch.Generator().manual_seed(sum(name.encode()) * 97 + seed)
            parameter.grad = torch.randn(parameter.shape, generator=generator)
    for group in optimizer.param_groups:
        group["lr"] = 0.01
    optimizer.step()


def released_file(path: Path, **sizes: object) -> tuple[ReleasedStyle, torch.optim.Optimizer]:
    """A file after two steps, and what it was made of."""
    student, teacher = ReleasedStyle(**sizes), ReleasedStyle(**sizes)
    optimizer = torch.optim.AdamW(student.groups(), weight_decay=0.0)
    for seed in (0, 1):
        step(student.named_parameters(), optimizer, seed)
    content = {
        "student": {f"module.{name}": value for name, value in student.state_dict().items()},
        "teacher": teacher.state_dict(),
        "optimizer": optimizer.state_dict(),
        "epoch": 2,
        "args": argparse.Namespace(arch="vit_tiny", out_dim=32),
        "dino_loss": {"center": torch.randn(1, 32)},
        "fp16_scaler": torch.amp.GradScaler("cpu", init_scale=8.0).state_dict(),
    }
    torch.save(content, path)
    return student, optimizer


@pytest.mark.parametrize("norm_last_layer", [True, False])
def test_a_released_file_is_gone_on_from(dino_cfg, tmp_path, norm_last_layer) -> None:
    """The same gradients give the same parameters: names, numbers and moments are right."""
    path = tmp_path / "checkpoint.pth"
    theirs, optimizer = released_file(path, norm_last_layer=norm_last_layer)
    dino_cfg.DINO.NORM_LAST_LAYER = norm_last_layer
    model = build_model(dino_cfg)
    content = from_released(read_file(str(path)), model, str(path))
    assert content["epoch"] == 1  # the one that is done
    assert content["grad_scaler"]["scale"] == 8.0
    model.load_state_dict(content["model"])
    ours, _ = DINOTrainer.build_optimizer(dino_cfg, model)
    ours.load_state_dict(content["optimizer"])
    ours.param_groups[0]["weight_decay"] = 0.0
    for seed in (2, 3):
        step(theirs.named_parameters(), optimizer, seed)
        step(model.student.named_parameters(), ours, seed)
    assert_same_weights(dict(model.student.state_dict()), dict(theirs.state_dict()))


def test_parameters_in_another_order_keep_their_moments(dino_cfg, tmp_path) -> None:
    """Another implementation may hold position embeddings before [cls], say."""
    path = tmp_path / "checkpoint.pth"
    student, _ = released_file(path)
    content = read_file(str(path))
    model = build_model(dino_cfg)
    expected = from_released(content, model, "file")["optimizer"]["state"]
    group = content["optimizer"]["param_groups"][0]["params"]
    names = [n for n, p in student.named_parameters() if p.requires_grad and p.dim() > 1]
    assert names[:2] == ["backbone.cls_token", "backbone.pos_embed"]
    group[0], group[1] = group[1], group[0]
    swapped = list(content["student"].items())
    swapped[0], swapped[1] = swapped[1], swapped[0]
    content["student"] = dict(swapped)
    again = from_released(content, model, "file")["optimizer"]["state"]
    assert expected.keys() == again.keys()
    for number, state in expected.items():
        assert torch.equal(again[number]["exp_avg"], state["exp_avg"])


def test_exported_imported_and_resumed_equals_uninterrupted(dino_cfg, tmp_path) -> None:
    uninterrupted = start(dino_cfg)
    uninterrupted.train()
    model = build_model(dino_cfg)
    source = str(Path(dino_cfg.OUTPUT_DIR) / "model_0000.pth")
    released = to_released(read_file(source), model, dino_cfg, source)
    torch.save(released, tmp_path / "released.pth")
    content = read_file(str(tmp_path / "released.pth"))
    assert set(content) == {"student", "teacher", "optimizer", "epoch", "args", "dino_loss"}
    assert content["epoch"] == 1
    assert content["args"].out_dim == 32 and content["args"].patch_size == 16
    assert "module.head.last_layer.weight_g" in content["student"]
    assert "head.mlp.4.bias" in content["teacher"]
    cfg = dino_cfg.clone()
    cfg.OUTPUT_DIR = str(tmp_path / "again")
    Path(cfg.OUTPUT_DIR).mkdir()
    ours = from_released(content, model, "released.pth")
    torch.save(ours, tmp_path / "again" / "model_0000.pth")
    (tmp_path / "again" / "last_checkpoint").write_text("model_0000.pth")
    resumed = start(cfg)
    assert resumed.start_epoch == 1
    resumed.train()
    assert_same_weights(resumed.dino.state_dict(), uninterrupted.dino.state_dict())


@pytest.mark.parametrize(
    "sizes, message",
    [
        ({"out_dim": 64}, r"weight_g is \[64, 1\] in the file, \[32, 1\] in .*see DINO.OUT_DIM"),
        ({"depth": 3}, r"blocks.2.norm1.weight is \[192\] in the file, missing .*NUM_BLOCKS"),
        ({"norm_last_layer": False}, r"groups of \[16, 22\] .*\[15, 22\]; .*NORM_LAST_LAYER"),
    ],
)
def test_a_file_of_another_model_is_refused(dino_cfg, tmp_path, sizes, message) -> None:
    path = tmp_path / "checkpoint.pth"
    released_file(path, **sizes)
    with pytest.raises(UserError, match=message):
        from_released(read_file(str(path)), build_model(dino_cfg), str(path))


def test_other_files_are_refused(dino_cfg, tmp_path) -> None:
    path = tmp_path / "checkpoint.pth"
    released_file(path)
    model, content = build_model(dino_cfg), read_file(str(path))
    weights = content.pop("optimizer")
    with pytest.raises(UserError, match=r"is no checkpoint of a DINO run: it lacks optimizer\. "):
        from_released(content, model, "x.pth")
    with pytest.raises(UserError, match="is no checkpoint of a DINO run: it lacks student"):
        from_released(model.state_dict(), model, "x.pth")
    with pytest.raises(UserError, match="only AdamW"):
        sgd = {number: {"momentum_buffer": None} for number in weights["state"]}
        optimizer = {**weights, "state": sgd}
        from_released({**content, "optimizer": optimizer}, model, "x.pth")
    with pytest.raises(UserError, match="is no checkpoint of our DINO trainer: it lacks model"):
        to_released(content, model, dino_cfg, "x.pth")


@pytest.mark.parametrize("shared", [True, False])
def test_a_run_of_ibot_is_exported_imported_and_resumed(tmp_path, shared: bool) -> None:
    """Names as in released files: "ibot_loss" with two centres, and two last layers in any case."""
    write_noise(tmp_path / "pool")
    cfg = small_method_cfg("IBOT", tmp_path / "pool", tmp_path / "logs")
    cfg.IBOT.SHARED_HEAD, cfg.IBOT.PATCH_OUT_DIM = shared, 24
    cfg.DINO.NORM_LAST_LAYER = False
    uninterrupted = start(cfg)
    uninterrupted.train()
    model = build_model(cfg)
    source = str(tmp_path / "logs" / "model_0000.pth")
    torch.save(to_released(read_file(source), model, cfg, source), tmp_path / "released.pth")
    content = read_file(str(tmp_path / "released.pth"))
    assert content["ibot_loss"]["center"].shape == (1, 32)
    assert content["ibot_loss"]["center2"].shape == (1, 1, 32 if shared else 24)
    for state, module in ((content["student"], "module."), (content["teacher"], "")):
        first, second = (state[f"{module}head.last_layer{n}.weight_v"] for n in ("", 2))
        assert torch.equal(first, second) == shared
    assert "module.backbone.masked_embed" in content["student"]
    assert "backbone.masked_embed" not in content["teacher"]
    ours = from_released(content, model, "released.pth")
    (tmp_path / "again").mkdir()
    torch.save(ours, tmp_path / "again" / "model_0000.pth")
    (tmp_path / "again" / "last_checkpoint").write_text("model_0000.pth")
    cfg.OUTPUT_DIR = str(tmp_path / "again")
    resumed = start(cfg)
    resumed.train()
    assert_same_weights(resumed.method.state_dict(), uninterrupted.method.state_dict())
    cfg.MODEL.META_ARCHITECTURE = "DINO"
    with pytest.raises(UserError, match="is no checkpoint of a DINO run: it lacks dino_loss"):
        from_released(content, build_model(cfg), "released.pth")
