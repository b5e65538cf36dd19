"""SOLVER.LAYER_DECAY: the rate of each layer, few groups, schedules, resuming, refusals."""

from __future__ import annotations

import json
import math

import pytest
import torch
from fastreid.modeling import build_model
from fastreid.solver import build_lr_scheduler, build_optimizer
from fastreid.utils.params import ContiguousParams
from reid_common.errors import UserError
from reid_core.config import load_config
from reid_core.run.validation import validate_config
from small_trainer import KillAt
from small_transreid import train_in
from transreid.solver.layer_decay import layer_scales
from transreid_configs import CONFIGS

BASE, DECAY = 0.01, 0.5


def layer(name: str) -> int:
    """Depth below the head of two blocks with JPM, by hand: 0 is the head, 3 the patches."""
    if name.startswith(("heads.global_branch.block.", "heads.local_branch.block.")):
        return 1
    if name.startswith("backbone.blocks.0."):
        return 2
    return 0 if name.startswith(("heads.", "backbone.sie.")) else 3


@pytest.fixture
def cfg(transreid_cfg):
    """JPM and cameras; norms and biases decay less, biases learn faster."""
    solver = transreid_cfg.SOLVER
    transreid_cfg.MODEL.HEADS.NUM_CLASSES, transreid_cfg.MODEL.SIE.NUM_CAMERAS = 5, 3
    solver.OPT, solver.BASE_LR, solver.LAYER_DECAY, solver.BIAS_LR_FACTOR = "AdamW", BASE, DECAY, 2
    solver.WEIGHT_DECAY, solver.WEIGHT_DECAY_NORM, solver.WEIGHT_DECAY_BIAS = 0.05, 0.0, 0.0
    return transreid_cfg


def rates(cfg, model) -> dict[tuple[float, float], int]:
    """Parameters of each pair of learning rate and weight decay."""
    optimizer, params = build_optimizer(cfg, model)
    assert isinstance(params, ContiguousParams)
    groups = [(g["lr"], g["weight_decay"], g["params"][0].numel()) for g in optimizer.param_groups]
    assert len({(lr, decay) for lr, decay, _ in groups}) == len(groups)
    return {(lr, decay): count for lr, decay, count in groups}


def test_each_layer_has_its_rate_and_equal_ones_share_a_group(cfg) -> None:
    model = build_model(cfg)
    expected: dict[tuple[float, float], int] = {}
    norms = {n for n, m in model.named_modules() if "norm" in n or "bottleneck" in n}
    for name, param in model.named_parameters():
        if not param.requires_grad:
            continue
        owner, _, kind = name.rpartition(".")
        rate = BASE * (2 if kind == "bias" else 1) * DECAY ** layer(name)
        key = (rate, 0.0 if kind == "bias" or owner in norms else 0.05)
        expected[key] = expected.get(key, 0) + param.numel()
    assert rates(cfg, model) == expected
    assert {layer(name) for name, _ in model.named_parameters()} == {0, 1, 2, 3}


def test_off_is_as_without_it(cfg) -> None:
    cfg.SOLVER.LAYER_DECAY = 1.0
    model = build_model(cfg)
    with_key = rates(cfg, model)
    del cfg.SOLVER["LAYER_DECAY"]
    assert list(rates(cfg, model).items()) == list(with_key.items())
    assert {rate for rate, _ in with_key} == {BASE, 2 * BASE}


def test_layers_of_mae_and_simmim() -> None:
    """By hand from the authors' rules: 12 blocks of a ViT, 2, 2, 6, 2 of Swin-T."""
    names = {
        "hap_vit_base": {
            "backbone.pos_embed": 13,
            "backbone.patch_embed.proj.bias": 13,
            "backbone.blocks.0.norm1.weight": 12,
            "backbone.blocks.11.mlp.fc2.weight": 1,
            "backbone.norm.weight": 0,
        },
        "solider_swin_tiny": {
            "backbone.patch_embed.norm.weight": 13,
            "backbone.stages.0.blocks.0.mlp.fc1.bias": 12,
            "backbone.stages.0.blocks.1.norm2.bias": 11,
            "backbone.stages.0.downsample.norm.bias": 11,  # of the block before it
            "backbone.stages.2.blocks.0.attn.qkv.weight": 8,
            "backbone.stages.2.downsample.reduction.weight": 3,
            "backbone.stages.3.blocks.1.attn.proj.weight": 1,
            "backbone.norm.bias": 0,
        },
    }
    options = ["MODEL.DEVICE", "meta", "MODEL.BACKBONE.PRETRAIN", False]
    options += ["MODEL.HEADS.NUM_CLASSES", 3]
    for config, depths in names.items():
        cfg = load_config(CONFIGS / "MSMT17" / f"{config}.yml", options)
        with torch.device("meta"):
            model = build_model(cfg)
        scales = layer_scales(model, DECAY)
        found = {name: scales[model.get_parameter(name)] for name in depths}
        assert found == {name: DECAY**depth for name, depth in depths.items()}
        heads = {scales[p] for name, p in model.named_parameters() if name.startswith("heads.")}
        assert heads == {1.0}


def test_ratios_last_and_killed_and_resumed_equals_uninterrupted(cfg, tmp_path) -> None:
    """The log shows SOLVER.BASE_LR's layer."""
    cfg.SOLVER.MAX_EPOCH, cfg.SOLVER.WARMUP_EPOCHS, cfg.TEST.EVAL_PERIOD = 3, 2, 0
    cfg.SOLVER.SCHED, cfg.SOLVER.ETA_MIN_FACTOR = "WarmupCosineLR", 0.1
    whole, killed = train_in(cfg, tmp_path / "whole"), tmp_path / "killed"
    assert ratios(whole.optimizer) == pytest.approx([0.1] * len(whole.optimizer.param_groups))
    rows = [json.loads(row) for row in (tmp_path / "whole/metrics.json").open()]
    logged = [row["lr"] for row in rows if "lr" in row]
    assert logged[-1] == pytest.approx(0.1 * BASE)  # where the cosine ends
    train_in(cfg, killed, KillAt(4))
    resumed = train_in(cfg, killed, resume=True).model.state_dict()
    for name, value in whole.model.state_dict().items():
        assert torch.equal(resumed[name], value), name


def ratios(optimizer: torch.optim.Optimizer) -> list[float]:
    return [group["lr"] / group["initial_lr"] for group in optimizer.param_groups]


def test_ratios_last_over_a_warm_up_and_half_a_cosine(cfg) -> None:
    """HAP's schedule: 2 epochs of 4 iterations from 0, then a cosine to 0 over 4 more."""
    solver = cfg.SOLVER
    solver.SCHED, solver.ETA_MIN_LR, solver.MAX_EPOCH = "CosineAnnealingLR", 0.0, 6
    solver.WARMUP_ITERS, solver.WARMUP_FACTOR, solver.DELAY_EPOCHS = 8, 0.0, 2
    optimizer, _ = build_optimizer(cfg, build_model(cfg))
    schedules = build_lr_scheduler(cfg, optimizer, 4)
    seen = []
    for step in range(8):
        seen.append(ratios(optimizer))
        optimizer.step()
        schedules["warmup_sched"].step()
        assert seen[-1] == pytest.approx([step / 8] * len(seen[-1]), abs=1e-12)
    for epoch in range(5):
        found = (1 + math.cos(math.pi * epoch / 4)) / 2
        assert ratios(optimizer) == pytest.approx([found] * len(optimizer.param_groups), abs=1e-12)
        schedules["lr_sched"].step()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["MODEL.BACKBONE.NAME", "build_resnet_backbone"], "MODEL.BACKBONE.NAME build_resnet"),
        (["SOLVER.LAYER_DECAY", 0.0], "LAYER_DECAY is 0.0; write a number of at most 1 above 0"),
        (["SOLVER.LAYER_DECAY", 1.5], "LAYER_DECAY is 1.5; write a number of at most 1"),
        (["SOLVER.SCHED", "CosineAnnealingLR"], "ETA_MIN_LR is 1e-07, .*set it to 0"),
        (["MODEL.META_ARCHITECTURE", "DINO"], "DINO trains all layers alike: set it to 1.0"),
    ],
)
def test_what_cannot_work_is_refused_before_a_run(options: list[object], message: str) -> None:
    wanted = ["MODEL.BACKBONE.PRETRAIN", False, "SOLVER.LAYER_DECAY", 0.4]
    wanted += ["SOLVER.WARMUP_EPOCHS", 0, *options]
    cfg = load_config(CONFIGS / "Market1501/vit_base.yml", wanted)
    with pytest.raises(UserError, match=message):
        validate_config(cfg)


def test_a_backbone_that_nobody_knows_is_refused() -> None:
    with pytest.raises(UserError, match="the layers of Linear are not known"):
        layer_scales(torch.nn.ModuleDict({"backbone": torch.nn.Linear(1, 1)}), 0.5)
