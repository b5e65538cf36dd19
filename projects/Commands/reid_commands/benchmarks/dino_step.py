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
import sys
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from dinopretrain import DINO
from dinopretrain.engine.step import clip_each
from dinopretrain.solver.parameter_groups import parameter_groups
from dinopretrain.transforms.views import MultiCrop
from fastreid.config import CfgNode
from fastreid.modeling import build_model
from fastreid.utils.events import EventStorage
from reid_core.config import load_config
from reid_core.run.command_line import show_user_errors
from torch import Tensor

from .harness import WALL, Cell, alternate, check_agreement, header, print_table, summary, timed

CONFIGS = {
    "ViT-S/16": "projects/DINOPretrain/configs/LUPerson/vit_small.yml",
    "ViT-B/16": "projects/DINOPretrain/configs/LUPerson/vit_base.yml",
}
CLIP, MOMENTUM = 3.0, 0.996
Batch = dict[str, Tensor]


def our_step(model: DINO, optimizer: torch.optim.Optimizer, batch: Batch) -> Tensor:
    """A step as DINOTrainer makes it."""
    loss = model(batch)["loss_dino"]
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    clip_each([p for group in optimizer.param_groups for p in group["params"]], CLIP)
    optimizer.step()
    model.finish_step()
    model.update_teacher(MOMENTUM)
    return loss.detach()


def plain_step(model: DINO, optimizer: torch.optim.Optimizer, batch: Batch) -> Tensor:
    """The same step, view by view, pair by pair, parameter by parameter."""
    globals_, locals_ = batch["global_views"], batch["local_views"]
    views = [globals_[:, i] for i in range(globals_.shape[1])]
    views += [locals_[:, i] for i in range(locals_.shape[1])]
    views = [model.normalised(view[:, None]) for view in views]
    with torch.no_grad():
        teacher = [model.teacher(view)[1] for view in views[: globals_.shape[1]]]
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
            torch.nn.utils.clip_grad_norm_([parameter], CLIP)
    optimizer.step()
    with torch.no_grad():
        for t, s in zip(model.teacher.parameters(), model.student.parameters(), strict=True):
            t.mul_(MOMENTUM).add_((1 - MOMENTUM) * s)
    return loss.detach()


def training_step(
    model: DINO, step: Callable[[DINO, torch.optim.Optimizer, Batch], Tensor], batch: Batch
) -> Callable[[], float]:
    """A step on ``batch`` with an optimizer of its own; it returns the loss before it."""
    optimizer = torch.optim.AdamW(parameter_groups(model.student, 0.04), lr=1e-5)
    return lambda: step(model, optimizer, batch).item()


def views_of_noise(cfg: CfgNode, count: int) -> Batch:
    """A batch of random views of the config's sizes."""

    def random(number: int, size: list[int]) -> Tensor:
        return torch.randint(0, 256, (count, number, *size, 3), dtype=torch.uint8)

    return {
        "global_views": random(2, cfg.INPUT.SIZE_TRAIN),
        "local_views": random(cfg.DINO.LOCAL_VIEWS, cfg.DINO.LOCAL_SIZE),
    }


def parts(model: DINO, cfg: CfgNode, batch: Batch) -> dict[str, Callable[[], object]]:
    """The parts of a step: forward passes alone, without gradients, and the views."""
    image = np.random.default_rng(0).integers(0, 256, (128, 64, 3), dtype=np.uint8)
    crops = MultiCrop(cfg)
    count = len(batch["global_views"])
    groups = [model.normalised(batch[name]) for name in ("global_views", "local_views")]
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


def measure(name: str, args: argparse.Namespace) -> list[dict[str, Cell]]:
    """Time both implementations, alternating: their rows; prints the shares of the parts."""
    torch.manual_seed(0)
    options = ["MODEL.DEVICE", "cpu", "MODEL.BACKBONE.DROP_PATH_RATIO", 0.0]
    cfg = load_config(CONFIGS[name], [*options, "DINO.OUT_DIM", args.out_dim])
    model = build_model(cfg).train()
    batch = views_of_noise(cfg, args.batch)
    steps = {
        "straightforward": training_step(copy.deepcopy(model), plain_step, batch),
        "ours": training_step(model, our_step, batch),
    }
    with EventStorage(0):
        check_agreement({name: {"loss": step()} for name, step in steps.items()}, 1e-4)
        comparison = alternate({name: timed(step) for name, step in steps.items()}, args.steps)
        with torch.no_grad():
            calls = parts(model, cfg, batch)
            for call in calls.values():
                call()  # warms up
            shares = alternate({part: timed(call) for part, call in calls.items()}, args.steps)
    rows = list(comparison.rows(images=args.batch))
    whole = float(rows[-1][WALL])
    listed = (
        f"{part} {summary(samples)[WALL] / whole:.1%}" for part, samples in shares.samples.items()
    )
    print(f"{name}, of one step (forward passes alone): {', '.join(listed)}", file=sys.stderr)
    return rows


@show_user_errors
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=CONFIGS, default=list(CONFIGS))
    parser.add_argument("--batch", type=int, default=8, help="images a step, of 10 views each")
    parser.add_argument("--steps", type=int, default=3, help="timed steps of each implementation")
    parser.add_argument("--out-dim", type=int, default=65536, help="K")
    args = parser.parse_args(argv)
    header(args, "timm")
    print_table({"model": name, **row} for name in args.models for row in measure(name, args))
    return 0
