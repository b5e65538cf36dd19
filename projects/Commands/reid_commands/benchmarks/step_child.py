"""Training steps of the checkout that PYTHONPATH names, one for each line of input.

Started by against.py, of this checkout and of another one. The first line is JSON, a
:class:`Case`; each answer is a line of JSON, seconds by two clocks and the loss. What is used here
other versions of the projects have, too; nothing else of these benchmarks is.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, TypedDict

import reid_core  # noqa: F401  (first: repairs FastReID)
import torch
from fastreid.engine.train_loop import SimpleTrainer
from fastreid.modeling.meta_arch import build_model
from fastreid.solver import build_optimizer
from fastreid.utils.events import EventStorage
from reid_core.config import load_config

INSTANCES, MOMENTUM, RATE = 4, 0.996, 1e-5


class Case(TypedDict):
    """What is trained."""

    kind: str  # "supervised" or "dino"
    config: str  # a file
    options: list[Any]  # KEY VALUE pairs
    batch: int  # images of noise


def supervised(case: Case) -> Callable[[], None]:
    """A step of FastReID's trainer, in float32."""
    cfg = load_config(case["config"], case["options"])
    count = case["batch"]
    batch = {
        "images": torch.rand(count, 3, *cfg.INPUT.SIZE_TRAIN) * 255,
        "targets": torch.arange(count) // INSTANCES,
        "camids": torch.arange(count) % max(cfg.MODEL.SIE.NUM_CAMERAS, 1),
    }
    model = build_model(cfg).train()
    # Copies: trainers of other versions may normalise images in place.
    batches = ({**batch, "images": batch["images"].clone()} for _ in itertools.count())
    trainer: Any = SimpleTrainer(model, batches, *build_optimizer(cfg, model))
    trainer.iter = 0
    return trainer.run_step


def dino(case: Case) -> Callable[[], None]:
    """A step of DINO's trainer, in float32, and that of its teacher."""
    from dinopretrain import DINOTrainer
    from dinopretrain.engine.step import DINOStep

    cfg = load_config(case["config"], case["options"])
    kinds = {
        "global_views": (2, cfg.INPUT.SIZE_TRAIN),
        "local_views": (cfg.DINO.LOCAL_VIEWS, cfg.DINO.LOCAL_SIZE),
    }
    batch = {
        name: torch.randint(0, 256, (case["batch"], views, *size, 3), dtype=torch.uint8)
        for name, (views, size) in kinds.items()
    }
    model: Any = build_model(cfg).train()
    optimizer, _ = DINOTrainer.build_optimizer(cfg, model)
    for group in optimizer.param_groups:
        group["lr"] = RATE
    simple: Any = SimpleNamespace(
        model=model,
        optimizer=optimizer,
        data_loader=None,
        _data_loader_iter=itertools.repeat(batch),
    )
    trainer: Any = DINOStep(simple, dtype=None, clip=cfg.DINO.CLIP_GRADIENT, micro_batch=0)

    def step() -> None:
        trainer.run_step()
        model.update_teacher(MOMENTUM)

    return step


def steps_of(case: Case) -> Callable[[], dict[str, float]]:
    """A timed step, after one that is not."""
    torch.manual_seed(0)
    step = {"supervised": supervised, "dino": dino}[case["kind"]](case)

    def timed() -> dict[str, float]:
        with EventStorage(0) as storage:
            start, busy = time.perf_counter(), time.process_time()
            step()
            loss = float(storage.latest()["total_loss"][0])
            seconds = time.perf_counter() - start, time.process_time() - busy
        return {"seconds": seconds[0], "processor seconds": seconds[1], "loss": loss}

    timed()
    return timed


def main() -> None:
    """Answer lines until there are no more."""
    # What libraries print is no answer.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    timed = steps_of(json.loads(sys.stdin.readline()))
    print("{}", file=answers, flush=True)
    for _ in sys.stdin:
        print(json.dumps(timed()), file=answers, flush=True)


if __name__ == "__main__":
    main()
