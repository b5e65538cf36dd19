"""Speed of one DINO training step against the straightforward implementation, and where it goes.

python tools/benchmarks/dino_step.py

Both take the same views through student, teacher, loss, backward, clipping, AdamW and EMA. The
straightforward one, held here, runs each view on its own, goes through all pairs of views with a
log-softmax for each, and through the parameters one by one. Steps alternate within one run; the
ratio is of the medians.
"""

from __future__ import annotations

import argparse
import copy
import functools
import sys
from collections.abc import Callable, Iterable

import numpy as np
import torch
import torch.nn.functional as F
from dinopretrain import DINO
from dinopretrain.transforms.views import MultiCrop
from fastreid.config import CfgNode
from fastreid.utils.events import EventStorage
from torch import Tensor

from .harness import WALL, Row, alternate, benchmark, compare_steps, summary, timed
from .models import DINO_CONFIGS, MODEL, MOMENTUM, adamw, dino_on_noise, dino_step

Batch = dict[str, Tensor]
Steps = dict[str, Callable[[], float]]


def plain_step(model: DINO, optimizer: torch.optim.Optimizer, clip: float, batch: Batch) -> float:
    """A step view by view, pair by pair, parameter by parameter."""
    views = [view for group in batch.values() for view in group.unbind(1)]
    views = [model.normalised(view[:, None]) for view in views]
    with torch.no_grad():
        teacher = [model.teacher(view)[1] for view in views[:2]]
    student = [model.student(view)[1] for view in views]
    terms = []
    for i, target in enumerate(teacher):
        p = F.softmax((target - model.loss.center) / model.teacher_temp, dim=-1)
        for j, logits in enumerate(student):
            if i != j:
                log_q = F.log_softmax(logits / model.loss.student_temp, dim=-1)
                terms.append(-(p * log_q).sum(-1).mean())
    loss = torch.stack(terms).mean()
    model.loss.move_center(torch.cat(teacher).mean(0, keepdim=True).detach())
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    for parameter in model.student.parameters():
        if parameter.grad is not None:
            torch.nn.utils.clip_grad_norm_([parameter], clip)
    optimizer.step()
    with torch.no_grad():
        for t, s in zip(model.teacher.parameters(), model.student.parameters(), strict=True):
            t.mul_(MOMENTUM).add_((1 - MOMENTUM) * s)
    return loss.item()


def parts(model: DINO, cfg: CfgNode, batch: Batch) -> dict[str, Callable[[], object]]:
    """The parts of a step: forward passes alone, without gradients, and the views."""
    image = np.random.default_rng(0).integers(0, 256, (128, 64, 3), dtype=np.uint8)
    crops = MultiCrop(cfg)
    count = len(batch["global_views"])
    groups = [model.normalised(views) for views in batch.values()]
    features = torch.cat([model.student.features(group) for group in groups])
    logits = model.student.head(features).unflatten(0, (-1, count))
    return {
        "backbone, student": lambda: [model.student.features(group) for group in groups],
        "backbone, teacher": lambda: model.teacher.features(groups[0]),
        "head, student": lambda: model.student.head(features),
        "loss": lambda: model.loss(logits, logits[:2], 0.04),
        "EMA": lambda: model.update_teacher(MOMENTUM),
        "views (one worker)": lambda: [crops(image) for _ in range(count)],
    }


def measure(name: str, args: argparse.Namespace) -> Iterable[Row]:
    """Time both implementations, alternating: their rows; prints the shares of the parts."""
    options = ["MODEL.BACKBONE.DROP_PATH_RATIO", 0.0, "DINO.OUT_DIM", args.out_dim]
    cfg, model, batch = dino_on_noise(DINO_CONFIGS[name], args.batch, options)
    other = copy.deepcopy(model)
    plain = functools.partial(plain_step, other, adamw(other), cfg.DINO.CLIP_GRADIENT, batch)
    with EventStorage(0):
        steps: Steps = {"straightforward": plain, "ours": dino_step(cfg, model, batch)}
        rows = list(compare_steps(steps, args.steps, 1e-4).rows(images=args.batch))
        with torch.no_grad():
            calls = parts(model, cfg, batch)
            for call in calls.values():
                call()  # warms up
            shares = alternate({part: timed(call) for part, call in calls.items()}, args.steps)
    whole = float(rows[-1][WALL])
    listed = (
        f"{part} {summary(times)[WALL] / whole:.1%}" for part, times in shares.samples.items()
    )
    print(f"{name}, of one step (forward passes alone): {', '.join(listed)}", file=sys.stderr)
    return rows


main, parser = benchmark(
    __doc__, measure, "timm", each=MODEL, models=DINO_CONFIGS, batch=8, steps=3, out_dim=65536
)
