"""A step of DINO never waits for the device, and old checkpoints of its optimizer resume."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from device_waits import CountSteps, counted
from fastreid.modeling.meta_arch import build_model
from fastreid_compat.repairs.training.fused import use_fused
from five_steps import DINO, small_config, views
from small_dino import ITERS_PER_EPOCH, start, write_noise
from small_methods import small_method_cfg
from torch import nn


@pytest.mark.parametrize("amp", ["", "fp16"])
@pytest.mark.parametrize("method", ["DINO", "IBOT", "MoCoV2", "MoCoV3", "MoCoV3 LARS", "MoBY"])
def test_no_step_waits(method: str, amp: str, tmp_path: Path) -> None:
    write_noise(tmp_path / "pool")
    name, _, optimizer = method.partition(" ")
    cfg = small_method_cfg(name, tmp_path / "pool", tmp_path / "logs")
    cfg.SOLVER.OPT = optimizer or cfg.SOLVER.OPT
    if name in ("DINO", "IBOT"):
        cfg.DINO.KOLEO_WEIGHT, cfg.DINO.MICRO_BATCH = 0.1, 3
    cfg.SOLVER.AMP.ENABLED, cfg.SOLVER.AMP.DTYPE = bool(amp), amp or "auto"
    trainer = start(cfg)
    steps = CountSteps(trainer, ITERS_PER_EPOCH)
    trainer.train()
    assert len(steps.steps) == 2 * ITERS_PER_EPOCH
    assert steps.waits() == {}


def test_a_checkpoint_of_torchs_own_adamw_resumes(dino_cfg) -> None:
    """Written before the optimizer was fused: its state is taken over, and the choice stays."""
    trainer = start(dino_cfg)
    trainer.train()
    file = Path(dino_cfg.OUTPUT_DIR) / "model_0001.pth"
    content = torch.load(file, weights_only=False)
    for group in content["optimizer"]["param_groups"]:
        group["fused"] = None
    torch.save(content, file)
    (file.parent / "last_checkpoint").write_text(file.name)
    resumed = start(dino_cfg)
    assert resumed.start_epoch == 2
    assert {group["fused"] for group in resumed.optimizer.param_groups} == {True}
    resumed.train()
    for name, value in trainer.dino.state_dict().items():
        torch.testing.assert_close(resumed.dino.state_dict()[name], value, rtol=0, atol=0)


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW])
def test_a_fused_optimizer_is_the_optimizer(kind: type[torch.optim.Optimizer]) -> None:
    plain = nn.Linear(6, 5)
    fast = copy.deepcopy(plain)
    more = {"momentum": 0.9, "nesterov": True} if kind is torch.optim.SGD else {}
    optimizers = [kind(m.parameters(), lr=0.1, weight_decay=0.01, **more) for m in (plain, fast)]
    assert not use_fused(optimizers[0])  # on a CPU by request only
    assert use_fused(optimizers[1], ("cpu",))
    for step in range(6):
        if step == 3:  # each continues from the other's state
            states = [copy.deepcopy(optimizer.state_dict()) for optimizer in optimizers]
            for optimizer, state in zip(optimizers, states[::-1], strict=True):
                optimizer.load_state_dict(state)
            assert optimizers[0].param_groups[0]["fused"] is None
            assert optimizers[1].param_groups[0]["fused"] is True
        x = torch.randn(4, 6)
        for model, optimizer in zip((plain, fast), optimizers, strict=True):
            optimizer.zero_grad()
            model(x).square().mean().backward()
            optimizer.step()
    torch.testing.assert_close(list(fast.parameters()), list(plain.parameters()))


def test_views_are_normalised_by_one_operator() -> None:
    model = build_model(small_config(DINO))
    batch = next(views())["global_views"]
    with counted() as operators:
        images = model.normalised(batch)
    moved = {"transpose", "view", "flatten", "permute", "_unsafe_view", "empty", "new_empty"}
    assert {name: n for name, n in operators.all.items() if name not in moved} == {"addcmul": 1}
    pixels = torch.cat(list(batch.unbind(1))).permute(0, 3, 1, 2)
    torch.testing.assert_close(images, (pixels - model.pixel_mean) / model.pixel_std)
