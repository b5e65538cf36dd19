"""Speed of one DINO training step against the straightforward implementation.

python tools/benchmarks/dino_step.py

Both take the same views through student, teacher, loss, backward, clipping, AdamW and EMA. The
straightforward one, held here, runs each view on its own, goes through all pairs of views with a
log-softmax for each, and through the parameters one by one.

python tools/benchmarks/dino_step.py --against FOLDER --models ViT-S/16 --batch 4

Instead, steps of another checkout of this repository and of this one, in turns.
"""

from __future__ import annotations

import argparse
import copy
import functools
from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from dinopretrain import DINO
from torch import Tensor

from .against import rows_against
from .harness import Row, benchmark, compare_steps
from .models import DINO_CONFIGS, MODEL, MOMENTUM, adamw, dino_on_noise, dino_step


def plain_step(
    model: DINO, optimizer: torch.optim.Optimizer, clip: float, batch: dict[str, Tensor]
) -> float:
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


def measure(name: str, args: argparse.Namespace) -> Iterable[Row]:
    """Time both implementations, alternating."""
    options = ["MODEL.BACKBONE.DROP_PATH_RATIO", 0.0, "DINO.OUT_DIM", args.out_dim]
    if args.against:
        options = ["MODEL.DEVICE", "cpu", *options]
        case = {"kind": "dino", "config": DINO_CONFIGS[name], "options": options}
        return rows_against(args, case, args.against, args.steps)
    cfg, model, batch = dino_on_noise(DINO_CONFIGS[name], args.batch, options)
    other = copy.deepcopy(model)
    plain = functools.partial(plain_step, other, adamw(other), cfg.DINO.CLIP_GRADIENT, batch)
    steps: dict[str, Callable[[], float]] = {
        "straightforward": plain,
        "ours": dino_step(cfg, model, batch),
    }
    return compare_steps(steps, args.steps, 1e-4).rows(images=args.batch)


main, parser = benchmark(
    __doc__,
    measure,
    "timm",
    each=MODEL,
    models=DINO_CONFIGS,
    batch=8,
    steps=3,
    out_dim=65536,
    against="",
)
