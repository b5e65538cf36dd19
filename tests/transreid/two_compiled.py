"""Script that test_compile.py starts: two processes train a compiled model, and an eager one.

``two_compiled.py FOLDER``: each process writes to FOLDER/RANK.pth what it has after two steps.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import reid_core  # noqa: F401  (first: repairs FastReID)
import torch
from fastreid.engine import launch
from fastreid.engine.train_loop import SimpleTrainer
from fastreid.modeling.meta_arch import build_model
from fastreid.solver import build_optimizer
from fastreid.utils import comm
from fastreid.utils.events import EventStorage
from five_steps import CASES, batches, fill, small_config
from reid_core.run.compiling import compile_model
from torch.nn.parallel import DistributedDataParallel

RECOMPUTE = "MODEL.BACKBONE.GRADIENT_CHECKPOINTING"
WAYS: dict[str, dict[str, Any]] = {"eager": {}, "compiled": {RECOMPUTE: True}}


def train(way: str) -> dict[str, Any]:
    """Weights after two steps, and what torch has compiled; nothing in the second step."""
    torch._dynamo.reset()
    counters = torch._dynamo.utils.counters
    counters.clear()
    cfg = small_config({**CASES["jpm"], "SOLVER.BASE_LR": 1e-3, **WAYS[way]})
    model = fill(build_model(cfg)).train()
    watched = [model.heads.necks[1].classifier.weight, model.backbone.blocks[0].mlp.fc1.weight]
    start = [weight.detach().clone() for weight in watched]
    if way != "eager":
        compile_model(model, backend="eager")
    optimizer, wrapper = build_optimizer(cfg, model)
    parallel = DistributedDataParallel(model, broadcast_buffers=False)
    own = ({**b, "images": b["images"] / (1 + comm.get_rank())} for b in batches())
    trainer: Any = SimpleTrainer(parallel, own, optimizer, wrapper)
    with EventStorage(0):
        for trainer.iter in range(2):
            with torch._dynamo.config.patch(error_on_recompile=trainer.iter > 0):
                trainer.run_step()
    return {
        "weights": model.state_dict(),
        "moved": [new != old for new, old in zip(watched, start, strict=True)],
        "graphs": counters["stats"]["unique_graphs"],
        "graph_breaks": sum(counters["graph_break"].values()),
    }


def main(folder: str) -> None:
    torch.save({way: train(way) for way in WAYS}, Path(folder) / f"{comm.get_rank()}.pth")


if __name__ == "__main__":
    launch(main, 1, args=(sys.argv[1],))
