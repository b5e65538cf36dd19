"""FastReID's own models, losses and trainer without a wait for the device, and as released."""

from __future__ import annotations

import inspect
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from device_waits import CountSteps, counted
from fastreid.engine import DefaultTrainer
from fastreid.layers import any_softmax
from fastreid.modeling import build_model
from fastreid.utils.events import EventStorage
from fastreid_compat.repairs.modeling import losses
from fastreid_compat.repairs.training.metrics import latest_value
from fastreid_models import distiller, mgn, moco, pixels
from torch import Tensor


@pytest.mark.parametrize("change", [lambda cfg: cfg, mgn, moco, distiller])
def test_forward_and_losses_do_not_wait(change, tiny_cfg) -> None:
    cfg = change(tiny_cfg)
    cfg.MODEL.HEADS.NUM_CLASSES = 4
    cfg.MODEL.HEADS.CLS_LAYER = "CosSoftmax"
    cfg.MODEL.LOSSES.TRI.MARGIN = 0.0
    model = build_model(cfg).train()
    batch = {"images": pixels().float(), "targets": torch.tensor([0, 0, 1, 1])}
    with EventStorage(), counted() as operators:
        sum(model(batch).values()).backward()
    assert operators.waits == {}


def test_no_step_of_the_trainer_waits(tiny_cfg) -> None:
    Path(tiny_cfg.OUTPUT_DIR).mkdir()
    tiny_cfg.SOLVER.OPT, tiny_cfg.SOLVER.WARMUP_ITERS = "SGD", 2
    tiny_cfg.DATALOADER.NUM_WORKERS = tiny_cfg.TEST.EVAL_PERIOD = 0
    trainer = DefaultTrainer(tiny_cfg)
    steps = CountSteps(trainer, 3)
    trainer.train()
    assert steps.steps and steps.waits() == {}


def released(function: Any) -> Any:
    """The function of the wheel, whatever has taken its place."""
    module = inspect.getmodule(function)
    name = function.__name__
    namespace = {**vars(module), "torch": torch}
    exec(compile(Path(module.__file__).read_text(), module.__file__, "exec"), namespace)
    return namespace[name]


def logits_and_targets() -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    return torch.randn(6, 5), torch.tensor([0, 0, 1, 1, 2, 4])


def with_gradient(function: Any, value: Tensor, *args: Any) -> tuple[Tensor, Tensor]:
    value = value.clone().requires_grad_()
    loss = function(value, *args)
    loss.sum().backward()
    return loss.detach(), value.grad


@pytest.mark.parametrize("eps", [0.0, 0.1, -1.0])
def test_cross_entropy_is_the_released_one(eps: float) -> None:
    logits, targets = logits_and_targets()
    logits[0] = torch.tensor([200.0, 0, 0, 0, 0])  # a loss of 0 does not count, without smoothing
    old = released(losses.released_cross_entropy)
    for ours, theirs in zip(
        with_gradient(losses.cross_entropy_loss, logits, targets, eps),
        with_gradient(old, logits, targets, eps),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("margin", [0.0, 0.3])
@pytest.mark.parametrize("norm_feat", [False, True])
@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("scale", [1.0, 200.0])  # the soft margin overflows at 200
def test_triplet_is_the_released_one(margin, norm_feat, hard, scale) -> None:
    features, targets = logits_and_targets()
    old = released(losses.released_triplet)
    choice = targets, margin, norm_feat, hard
    for ours, theirs in zip(
        with_gradient(losses.triplet_loss, scale * features, *choice),
        with_gradient(old, scale * features, *choice),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("losses_of", [losses.cross_entropy_loss, losses.triplet_loss])
def test_several_branches_are_one_after_the_other(losses_of) -> None:
    _, targets = logits_and_targets()
    branches, choice = torch.randn(3, 6, 5), (0.1,)
    if losses_of is losses.triplet_loss:
        choice = 0.0, False, True
        branches[1] *= 1e3  # this one overflows, the others do not
    together, gradient = with_gradient(losses_of, branches, targets, *choice)
    for number, branch in enumerate(branches):
        alone, own = with_gradient(losses_of, branch, targets, *choice)
        torch.testing.assert_close(together[number], alone)
        torch.testing.assert_close(gradient[number], own)


@pytest.mark.parametrize("name", list(losses.MARGINS))
def test_margins_are_the_released_ones(name: str) -> None:
    logits, targets = logits_and_targets()
    cosines = torch.tanh(logits)
    targets[2] = -1  # a class of another process
    layer = getattr(any_softmax, name)(5, 16.0, 0.2)
    old = types.MethodType(inspect.unwrap(type(layer).forward), layer)
    for ours, theirs in zip(
        with_gradient(lambda x: layer(x.clone(), targets), cosines),
        with_gradient(lambda x: old(x.clone(), targets), cosines),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)


def test_metrics_are_read_when_asked_for() -> None:
    with EventStorage(3) as storage:
        storage.put_scalar("a", torch.tensor([2.0]))
        storage.put_scalar("b", 5.0)
        storage.iter = 4
        with counted() as operators:
            storage.put_scalar("a", torch.tensor(4.0).clone())
            assert isinstance(latest_value(storage, "a"), Tensor)
        assert set(operators.waits) <= {"lift_fresh"}
        assert storage.latest() == {"a": (4.0, 4), "b": (5.0, 3)}
        assert storage.history("a").values() == [(2.0, 3), (4.0, 4)]
        assert latest_value(storage, "a") == 4.0 and latest_value(storage, "none") is None
        storage.put_scalar("a", torch.tensor(1.0))
        storage.put_scalar("a", 7.0)  # a number after a tensor keeps its place
        assert [value for value, _ in storage.history("a").values()] == [2.0, 4.0, 1.0, 7.0]
        with pytest.raises(AssertionError, match="different smoothing_hint"):
            storage.put_scalar("a", torch.tensor(1.0), smoothing_hint=False)
