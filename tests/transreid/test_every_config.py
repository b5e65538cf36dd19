"""Every YAML of the project builds its model and trains one step at its image size.

The first config of a kind of backbone has it whole; the others of that kind have two of its blocks,
and everything else of their own: side information, heads, losses, image size, optimizer.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from fastreid.config import CfgNode
from fastreid.modeling import build_model
from fastreid.solver import build_optimizer
from fastreid.utils.events import EventStorage
from person_configs import PERSON_CONFIGS
from reid_core.config import load_config
from torch import nn
from transreid_configs import BATCH, LEAVES, config_of, random_batch

NUM_CLASSES = 4
BLOCKS = 2


def untrained(model: nn.Module) -> list[str]:
    """Trainable parameters without a gradient, but for blocks, which drop path may have skipped."""
    names = [n for n, p in model.named_parameters() if p.requires_grad and not p.grad.any()]
    return [name for name in names if "block" not in name]


def branch_sizes(cfg: CfgNode) -> list[int]:
    """Numbers of each branch of a head in the feature at test time."""
    head, dim = cfg.MODEL.HEADS.NAME, cfg.MODEL.BACKBONE.FEAT_DIM
    if head == "CLIPReIDHead":
        return [dim, cfg.MODEL.BACKBONE.PROJECTION]
    if head == "PartTokenHead":
        return [2 * dim]
    if head == "LocalityHead":
        return [dim, 2 * dim]
    if cfg.MODEL.META_ARCHITECTURE == "LUPersonMGN":
        return [8 * cfg.MODEL.HEADS.EMBEDDING_DIM]
    return [dim] * (1 + cfg.MODEL.JPM.NUM_PARTS) if head == "JPMHead" else [dim]


def kind_of(path: Path) -> tuple[object, ...]:
    """What makes the blocks of a config's backbone."""
    backbone = config_of(path).MODEL.BACKBONE
    return (backbone.NAME, backbone.FEAT_DIM, backbone.STEM)


# Those of person backbones are whole in test_person_true_sizes.py, without memory for them.
WHOLE = [path for path in LEAVES if path.stem not in PERSON_CONFIGS]
FIRST_OF_KIND = {kind_of(path): path for path in reversed(WHOLE)}.values()


def settings_of(path: Path) -> str:
    """A config without what its data set says, and where the weights of its ViT or CNN are from."""
    cfg = config_of(path).clone()
    cfg.DATASETS.NAMES, cfg.DATASETS.TESTS, cfg.OUTPUT_DIR = (), (), ""
    cfg.MODEL.SIE.NUM_CAMERAS = cfg.SOLVER.WARMUP_ITERS = cfg.SOLVER.WARMUP_EPOCHS = 0
    cfg.SOLVER.FREEZE_ITERS = 0
    cfg.MODEL.BACKBONE.PRETRAIN_PATH, cfg.MODEL.BACKBONE.PRETRAIN_GRID = "", ()
    cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD = (), ()
    return json.dumps(cfg, sort_keys=True)


# One step on behalf of all configs that differ in that alone
STEPS = {settings_of(path): path for path in reversed([*FIRST_OF_KIND, *LEAVES])}.values()


@pytest.mark.parametrize("path", STEPS, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_every_config_trains_a_step(path: Path) -> None:
    options = ["MODEL.DEVICE", "cpu", "MODEL.BACKBONE.PRETRAIN", False]
    if path not in FIRST_OF_KIND:
        blocks = BLOCKS if path in WHOLE else 1
        options += ["MODEL.BACKBONE.NUM_BLOCKS", blocks]
    if path.stem.startswith("luperson"):
        options += ["INPUT.SIZE_TRAIN", [96, 32], "INPUT.SIZE_TEST", [96, 32]]  # any size will do
        options += ["SOLVER.FREEZE_ITERS", 0]
    cfg = load_config(path, [*options, "MODEL.HEADS.NUM_CLASSES", NUM_CLASSES])
    model = build_model(cfg).train()
    optimizer, params = build_optimizer(cfg, model)
    batch = random_batch(cfg)
    with EventStorage():
        losses = model(batch)
    optimizer.zero_grad()
    sum(losses.values()).backward()
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert untrained(model) == []
    before = [group["params"][0].detach().clone() for group in optimizer.param_groups]
    optimizer.step()
    params.assert_buffer_is_valid()
    for group, old in zip(optimizer.param_groups, before, strict=True):
        new = group["params"][0]
        assert torch.isfinite(new).all() and not torch.equal(new, old)

    branches = branch_sizes(cfg)
    assert ("loss_cls_local" in losses) == (len(branches) > 1)
    assert ("loss_triplet_inner" in losses) == (cfg.MODEL.HEADS.NAME == "CLIPReIDHead")
    if hasattr(model.backbone, "blocks"):
        model.backbone.blocks = model.backbone.blocks[:1]  # the shape needs no depth
    with torch.no_grad():
        features = model.eval()(batch)
    assert features.shape == (BATCH, sum(branches))
