"""A training step never waits for the device, and JPM's branches are few operators."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from device_waits import CountSteps, counted
from fastreid.engine import DefaultTrainer
from fastreid.engine.train_loop import SimpleTrainer
from fastreid.modeling.meta_arch import build_model
from fastreid.solver import build_optimizer
from fastreid.utils.events import EventStorage
from five_steps import CASES, batches, small_config
from reid_core.config import trainer_class
from transreid import resolve_side_information

BASELINE = {"MODEL.HEADS.NAME": "BNNeckHead", "MODEL.SIE.CAMERA": False}
JPM = {"MODEL.SIE.CAMERA": False}
CHOICES: dict[str, dict[str, Any]] = {
    "baseline": BASELINE,
    "jpm": JPM,
    "jpm_sie": {"MODEL.SIE.CAMERA_DROPOUT": 0.1},
    "clipped_bf16": {
        "SOLVER.CLIP_GRADIENTS.ENABLED": True,
        "SOLVER.AMP.ENABLED": True,
        "SOLVER.AMP.DTYPE": "bf16",
    },
    "margins": {
        "MODEL.HEADS.CLS_LAYER": "ArcSoftmax",
        "MODEL.HEADS.SCALE": 16,
        "MODEL.LOSSES.NAME": ("CrossEntropyLoss", "CircleLoss", "Cosface"),
    },
}


def run(cfg: Any, trainer: type[DefaultTrainer] | None = None) -> CountSteps:
    """Two epochs of three steps with all hooks of the trainer."""
    Path(cfg.OUTPUT_DIR).mkdir(parents=True, exist_ok=True)
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.TEST.EVAL_PERIOD, cfg.SOLVER.OPT = 0, "SGD"
    trainer_object = (trainer or trainer_class(cfg))(cfg)
    steps = CountSteps(trainer_object, 3)
    trainer_object.train()
    return steps


def test_the_counter_sees_what_waits() -> None:
    x = torch.arange(4.0)
    with counted() as operators:
        x.sum().item()
        x[x > 1]
        x.tolist()
        if x[0] < 1:
            x.nonzero()
        torch.tensor([1.0, 2.0])
        x[torch.arange(2)]  # does not
    counts = {"_local_scalar_dense": 2, "index": 1, "tolist": 1, "nonzero": 1, "lift_fresh": 1}
    assert operators.waits == counts


@pytest.mark.parametrize("choice", CHOICES)
def test_no_step_waits(transreid_cfg, choice: str) -> None:
    transreid_cfg.merge_from_list([i for pair in CHOICES[choice].items() for i in pair])
    resolve_side_information(transreid_cfg)
    steps = run(transreid_cfg)
    assert len(steps.steps) == 6
    assert steps.waits() == {}


def operators_of_a_step(keys: dict[str, Any]) -> int:
    cfg = small_config({**keys, "MODEL.BACKBONE.NUM_BLOCKS": 12})
    model = build_model(cfg)
    trainer = SimpleTrainer(model, batches(), *build_optimizer(cfg, model))
    with EventStorage(0):
        trainer.iter = 0
        trainer.run_step()
        with counted() as operators:
            trainer.run_step()
    return sum(operators.all.values())


def test_a_step_with_jpm_has_few_operators_more() -> None:
    baseline, jpm = (operators_of_a_step({**CASES["jpm"], **keys}) for keys in (BASELINE, JPM))
    assert jpm <= 1.25 * baseline
