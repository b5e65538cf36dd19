"""The optimizer trains, clips each parameter, freezes as long as asked, and is found by name."""

from __future__ import annotations

import copy

import pytest
import torch
from fastreid.engine import defaults
from fastreid.modeling import build_model
from fastreid.solver.optim import SWA
from fastreid.utils.events import EventStorage
from fastreid.utils.params import ContiguousParams
from fastreid_compat.repairs.training.optimizer import released_build_optimizer, usable_optimizers
from reid_common.errors import UserError
from torch import nn


@pytest.fixture
def network() -> nn.Module:
    """Convolution, batch norm and a classifier: weights, biases and norms, as in a ReID model."""
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten())
    return nn.ModuleDict({"backbone": backbone, "heads": nn.Linear(4 * 4 * 4, 5)})


def take_steps(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int = 3) -> list:
    """Train ``steps`` steps on noise; returns the parameters' values after each of them."""
    noise = torch.Generator().manual_seed(1)
    values = []
    for _ in range(steps):
        images = torch.randn(6, 3, 6, 6, generator=noise)
        loss = model["heads"](model["backbone"](images)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append([p.detach().clone() for p in model.parameters()])
    return values


def num_changed(before: list, after: list) -> int:
    return sum(not torch.equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize("name", ["Adam", "AdamW", "SGD", "RAdam"])
def test_training_is_that_of_a_plain_optimizer(tiny_cfg, network, name):
    tiny_cfg.SOLVER.OPT = name
    tiny_cfg.SOLVER.BIAS_LR_FACTOR = 2.0
    flat, plain = copy.deepcopy(network), copy.deepcopy(network)
    optimizer, params = defaults.build_optimizer(tiny_cfg, flat)
    assert isinstance(params, ContiguousParams)
    factor = {id(p): 2.0 if key.endswith("bias") else 1.0 for key, p in plain.named_parameters()}
    groups = [
        {"params": [p], "lr": tiny_cfg.SOLVER.BASE_LR * factor[id(p)], "weight_decay": 5e-4}
        for p in plain.parameters()
    ]
    more = {"momentum": tiny_cfg.SOLVER.MOMENTUM} if name == "SGD" else {}
    expected = take_steps(plain, getattr(torch.optim, name)(groups, **more))
    trained = take_steps(flat, optimizer)
    for one, other in zip(trained, expected, strict=True):
        assert num_changed(one, other) == 0
    assert num_changed(list(network.parameters()), trained[-1]) == len(expected[0])
    params.assert_buffer_is_valid()


def test_released_optimizer_trains_nothing(tiny_cfg, network):
    model = copy.deepcopy(network)
    optimizer, _ = released_build_optimizer(tiny_cfg, model)
    assert num_changed(list(network.parameters()), take_steps(model, optimizer)[-1]) == 0


def test_reid_model_trains(tiny_cfg):
    tiny_cfg.MODEL.HEADS.NUM_CLASSES = 4
    model = build_model(tiny_cfg)
    optimizer, _ = defaults.build_optimizer(tiny_cfg, model)
    before = {key: p.detach().clone() for key, p in model.named_parameters()}
    batch = {
        "images": torch.rand(4, 3, 64, 32) * 255,
        "targets": torch.tensor([0, 0, 1, 1]),
        "camids": torch.zeros(4, dtype=torch.long),
    }
    with EventStorage():
        for _ in range(2):
            loss = sum(model(batch).values())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    frozen = {key for key, p in model.named_parameters() if torch.equal(before[key], p)}
    assert frozen == {"heads.bottleneck.0.bias"} & set(before)  # not trained in FastReID's BNNeck


@pytest.mark.parametrize("clip_type", ["norm", "value"])
def test_clipping_acts_on_each_parameter(tiny_cfg, network, clip_type):
    tiny_cfg.SOLVER.OPT = "SGD"
    tiny_cfg.SOLVER.CLIP_GRADIENTS.ENABLED = True
    tiny_cfg.SOLVER.CLIP_GRADIENTS.CLIP_TYPE = clip_type
    tiny_cfg.SOLVER.CLIP_GRADIENTS.CLIP_VALUE = 0.5
    optimizer, _ = defaults.build_optimizer(tiny_cfg, network)
    gradients = [torch.full_like(p, 0.01 if p.ndim == 1 else 3.0) for p in network.parameters()]
    for param, gradient in zip(network.parameters(), gradients, strict=True):
        param.grad.copy_(gradient)
    optimizer.step()
    for param, gradient in zip(network.parameters(), gradients, strict=True):
        expected = param.detach().clone()
        expected.grad = gradient
        if clip_type == "norm":
            nn.utils.clip_grad_norm_(expected, 0.5)
        else:
            nn.utils.clip_grad_value_(expected, 0.5)
        torch.testing.assert_close(param.grad, expected.grad)


def test_frozen_layers_thaw_after_the_same_step_with_and_without_resume(tiny_cfg, network):
    tiny_cfg.MODEL.FREEZE_LAYERS = ["backbone"]
    tiny_cfg.SOLVER.FREEZE_ITERS = 2
    model = copy.deepcopy(network)
    optimizer, _ = defaults.build_optimizer(tiny_cfg, model)
    values = take_steps(model, optimizer, steps=3)
    num_backbone = len(list(model["backbone"].parameters()))
    start = [p.detach() for p in network.parameters()]
    assert num_changed(start[:num_backbone], values[1][:num_backbone]) == 0
    assert num_changed(start[num_backbone:], values[1][num_backbone:]) == 2
    assert num_changed(start[:num_backbone], values[2][:num_backbone]) == num_backbone

    resumed, _ = defaults.build_optimizer(tiny_cfg, model)
    resumed.load_state_dict(optimizer.state_dict())
    after = take_steps(model, resumed, steps=1)[0]
    assert num_changed(values[2][:num_backbone], after[:num_backbone]) == num_backbone


def test_freezing_a_branch_leaves_its_head_free(tiny_cfg, network):
    """As in FastReID's configs of MGN, whose b1 begins the name of b1_head."""
    tiny_cfg.MODEL.FREEZE_LAYERS, tiny_cfg.SOLVER.FREEZE_ITERS = ["b1", r"b[23]\.0"], 2
    model = nn.ModuleDict(
        {name: nn.Sequential(nn.Linear(1, 1)) for name in ("b1", "b2", "b1_head")}
    )
    optimizer, _ = defaults.build_optimizer(tiny_cfg, model, False)
    frozen = {g["params"][0] for g in optimizer.param_groups if g["freeze_status"] == "freeze"}
    assert frozen == {*model["b1"].parameters(), *model["b2"].parameters()}


def test_lamb_is_found_and_sees_parameters_instead_of_buffers(tiny_cfg, network):
    tiny_cfg.SOLVER.OPT = "Lamb"
    model = copy.deepcopy(network)
    optimizer, params = defaults.build_optimizer(tiny_cfg, model)
    assert not isinstance(params, ContiguousParams)
    assert type(optimizer).__module__ == "fastreid.solver.optim.lamb"
    values = take_steps(model, optimizer)
    # The biases of the batch norm start at zero, where Lamb's ratio is 1; nothing stays put.
    assert num_changed(list(network.parameters()), values[-1]) == len(values[-1])
    assert not hasattr(torch.optim, "Lamb")


def test_unknown_optimizer_lists_the_known_ones(tiny_cfg, network):
    tiny_cfg.SOLVER.OPT = "Adma"
    with pytest.raises(UserError, match=r"SOLVER.OPT is 'Adma'.*AdamW.*Lamb.*SGD"):
        defaults.build_optimizer(tiny_cfg, network)


@pytest.mark.parametrize("name", sorted(usable_optimizers()))
def test_every_listed_optimizer_trains(tiny_cfg, network, name):
    tiny_cfg.SOLVER.OPT = name
    model = copy.deepcopy(network)
    optimizer, _ = defaults.build_optimizer(tiny_cfg, model)
    values = take_steps(model, optimizer)
    assert num_changed(list(network.parameters()), values[-1]) > 0


def test_swa_averages(tiny_cfg, network):
    model = copy.deepcopy(network)
    base, _ = defaults.build_optimizer(tiny_cfg, model)
    optimizer = SWA(base, swa_freq=1, swa_lr_factor=1.0)
    values = take_steps(model, optimizer)
    optimizer.swap_swa_param()
    for number, param in enumerate(model.parameters()):
        mean = torch.stack([step[number] for step in values]).mean(dim=0)
        torch.testing.assert_close(param.detach(), mean)
