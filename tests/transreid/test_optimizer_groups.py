"""Which learning rate and weight decay each parameter gets from the released recipe."""

from __future__ import annotations

import pytest
from fastreid.modeling import build_model
from fastreid.solver import build_optimizer
from fastreid.solver.build import get_default_optimizer_params

BASE = 0.008


@pytest.fixture
def model(transreid_cfg):
    """JPM, camera SIE, IBN stem: every kind of parameter that this project has."""
    cfg = transreid_cfg
    cfg.MODEL.HEADS.NUM_CLASSES, cfg.MODEL.SIE.NUM_CAMERAS = 5, 3
    cfg.MODEL.BACKBONE.STEM, cfg.MODEL.BACKBONE.STRIDE_SIZE = "ics", [16, 16]
    cfg.SOLVER.OPT, cfg.SOLVER.BASE_LR, cfg.SOLVER.BIAS_LR_FACTOR = "SGD", BASE, 2.0
    for key in ("WEIGHT_DECAY", "WEIGHT_DECAY_NORM", "WEIGHT_DECAY_BIAS"):
        cfg.SOLVER[key] = 1e-4
    return build_model(cfg)


def test_biases_have_twice_the_rate_and_all_have_the_same_decay(model) -> None:
    """Released: LR x2 where "bias" is in the name, weight decay 1e-4 everywhere."""
    items = get_default_optimizer_params(
        model,
        base_lr=BASE,
        weight_decay=1e-4,
        weight_decay_norm=1e-4,
        bias_lr_factor=2.0,
        weight_decay_bias=1e-4,
    )
    rates = {id(item["params"][0]): (item["lr"], item["weight_decay"]) for item in items}
    assert len(rates) == len(items)
    trained = {name for name, param in model.named_parameters() if param.requires_grad}
    for name, param in model.named_parameters():
        if name in trained:
            assert rates.pop(id(param)) == (BASE * (2 if "bias" in name else 1), 1e-4), name
    assert rates == {}
    kinds = ("cls_token", "pos_embed", "sie_embed", "norm1.bias", "attn.qkv.bias", "IN.bias")
    for kind in kinds:
        assert any(kind in name for name in trained), kind


def test_the_shift_of_each_bnneck_is_not_trained(model) -> None:
    frozen = [name for name, param in model.named_parameters() if not param.requires_grad]
    assert frozen == [f"heads.necks.{branch}.bottleneck.bias" for branch in range(5)]


def test_the_optimizer_has_these_two_groups(model, transreid_cfg) -> None:
    optimizer, _ = build_optimizer(transreid_cfg, model)
    sizes = {group["lr"]: group["params"][0].numel() for group in optimizer.param_groups}
    trained = [(n, p.numel()) for n, p in model.named_parameters() if p.requires_grad]
    biases = sum(count for name, count in trained if "bias" in name)
    assert sizes == {BASE: sum(count for _, count in trained) - biases, 2 * BASE: biases}
    assert {group["weight_decay"] for group in optimizer.param_groups} == {1e-4}
    assert {group["momentum"] for group in optimizer.param_groups} == {0.9}
