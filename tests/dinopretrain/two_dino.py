"""Script that test_distributed.py starts: three steps of the golden run in one or two processes.

``two_dino.py PROCESSES FOLDER`` makes them in every way of WAYS and writes losses, centre and
parameters of the first process to FOLDER/WAY.pth.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fastreid_compat  # noqa: F401  (first: makes fastreid importable)
import numpy as np
import torch
from dinopretrain.engine.step import DINOStep
from dinopretrain.engine.trainer import Schedules
from dinopretrain.solver.parameter_groups import parameter_groups
from fastreid.engine import launch
from fastreid.utils import comm
from fastreid.utils.events import EventStorage
from torch.nn.parallel import DistributedDataParallel

sys.path.insert(0, str(Path(__file__).parent))
from test_trace import Trace, build, settings

# Micro batch (0: the whole share of a process), blocks recomputed in backward, DINO.KOLEO_WEIGHT.
WAYS = {
    "whole": (0, False, 0.0),
    "pieces1": (1, False, 0.0),
    "pieces1_recomputed": (1, True, 0.0),
    "pieces3": (3, False, 0.0),
    "pieces3_recomputed": (3, True, 0.0),
    "koleo": (0, False, 0.5),
}
STEPS = 3
FIGURES = (
    "grad_norm",
    "teacher_entropy",
    "mean_entropy",
    "logit_spread",
    "feature_spread",
    "view_agreement",
)


def share(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """This process's part of a batch."""
    return {k: v[comm.get_rank() :: comm.get_world_size()] for k, v in batch.items()}


def main(folder: str) -> None:
    for name, way in WAYS.items():
        result = train(*way)
        if comm.is_main_process():
            torch.save(result, Path(folder) / f"{name}.pth")


def train(micro_batch: int, checkpointing: bool, koleo: float) -> dict[str, Any]:
    """Losses, figures and state after the steps."""
    trace = Trace()
    model: Any = build(trace.meta).train()
    model.koleo_weight = koleo
    for encoder in (model.student, model.teacher):
        encoder.load_state_dict(trace.state("init/"))
        encoder.backbone.gradient_checkpointing = checkpointing
    optimizer = torch.optim.AdamW(parameter_groups(model.student, trace.meta["wd"]), lr=0.0)
    parallel = model
    if comm.get_world_size() > 1:
        parallel = DistributedDataParallel(model, broadcast_buffers=False)
    simple = SimpleNamespace(
        model=parallel,
        optimizer=optimizer,
        data_loader=None,
        _data_loader_iter=iter([share(trace.batch(step)) for step in range(STEPS)]),
    )
    stepper = DINOStep(simple, dtype=None, clip=trace.meta["clip"], micro_batch=micro_batch)
    schedules = Schedules(settings(trace.meta))
    losses, figures = [], []
    with EventStorage(0) as storage:
        schedules.trainer = SimpleNamespace(
            max_iter=4,
            iters_per_epoch=2,
            optimizer=optimizer,
            dino=model,
            _trainer=stepper,
            storage=storage,
        )
        for step in range(STEPS):
            schedules.trainer.iter = step
            schedules.before_step()
            stepper.run_step()
            schedules.after_step()
            latest = {name: float(np.ravel(x)[0]) for name, x in storage.latest().items()}
            losses.append(latest["total_loss"])
            figures.append([latest[name] for name in FIGURES])
    return {"losses": losses, "figures": figures, "state": model.state_dict()}


if __name__ == "__main__":
    launch(main, 1, args=(sys.argv[1],))
