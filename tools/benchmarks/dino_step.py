#!/usr/bin/env python3
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
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from dinopretrain import DINO
from dinopretrain.engine.step import clip_each
from dinopretrain.engine.trainer import parameter_groups
from dinopretrain.transforms.views import MultiCrop
from fastreid.config import CfgNode
from fastreid.modeling import build_model
from fastreid.utils.events import EventStorage
from reid_core.config import load_config
from torch import Tensor

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
        teacher = [model.teacher(view) for view in views[: globals_.shape[1]]]
    student = [model.student(view)[1] for view in views]
    total, pairs = 0.0, 0
    for i, target in enumerate(teacher):
        p = F.softmax((target - model.loss.center) / model.teacher_temp, dim=-1)
        for j, logits in enumerate(student):
            if i != j:
                log_q = F.log_softmax(logits / model.loss.student_temp, dim=-1)
                total = total - (p * log_q).sum(-1).mean()
                pairs += 1
    loss = total / pairs
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


@dataclass
class Runner:
    """One implementation: its own copy of the model and optimizer, and the times of its steps."""

    model: DINO
    step: Callable[[DINO, torch.optim.Optimizer, Batch], Tensor]

    def __post_init__(self) -> None:
        groups = parameter_groups(self.model.student, 0.04)
        self.optimizer = torch.optim.AdamW(groups, lr=1e-5, foreach=None)
        self.seconds: list[float] = []

    def run(self, batch: Batch) -> float:
        """One step; returns the loss before it."""
        start = time.perf_counter()
        loss = self.step(self.model, self.optimizer, batch).item()
        self.seconds.append(time.perf_counter() - start)
        return loss


def views_of_noise(cfg: CfgNode, count: int) -> Batch:
    """A batch of random views of the config's sizes."""

    def random(number: int, size: list[int]) -> Tensor:
        return torch.randint(0, 256, (count, number, *size, 3), dtype=torch.uint8)

    return {
        "global_views": random(2, cfg.INPUT.SIZE_TRAIN),
        "local_views": random(cfg.DINO.LOCAL_VIEWS, cfg.DINO.LOCAL_SIZE),
    }


def parts(model: DINO, cfg: CfgNode, batch: Batch, steps: int) -> dict[str, float]:
    """Seconds of the parts of a step: forward passes alone, without gradients, and the views."""
    image = np.random.default_rng(0).integers(0, 256, (128, 64, 3), dtype=np.uint8)
    crops = MultiCrop(cfg)
    count = len(batch["global_views"])
    with torch.no_grad():
        groups = [model.normalised(batch[name]) for name in ("global_views", "local_views")]
        features = torch.cat([model.student.features(group) for group in groups])
        logits = model.student.head(features).unflatten(0, (-1, count))
        timed: dict[str, Callable[[], object]] = {
            "backbone, student": lambda: [model.student.features(group) for group in groups],
            "backbone, teacher": lambda: model.teacher.features(groups[0]),
            "head, student": lambda: model.student.head(features),
            "loss": lambda: model.loss(logits, logits[:2], 0.04),
            "EMA": lambda: model.update_teacher(MOMENTUM),
            "views (one worker)": lambda: [crops(image) for _ in range(count)],
        }
        return {name: _median_seconds(function, steps) for name, function in timed.items()}


def _median_seconds(function: Callable[[], object], steps: int) -> float:
    function()
    seconds = []
    for _ in range(steps):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds))


def measure(name: str, args: argparse.Namespace) -> None:
    """Time both implementations, alternating; print the row and the parts."""
    torch.manual_seed(0)
    options = ["MODEL.DEVICE", "cpu", "MODEL.BACKBONE.DROP_PATH_RATIO", 0.0]
    cfg = load_config(CONFIGS[name], [*options, "DINO.OUT_DIM", args.out_dim])
    model = build_model(cfg).train()
    batch = views_of_noise(cfg, args.batch)
    ours, plain = Runner(model, our_step), Runner(copy.deepcopy(model), plain_step)
    with EventStorage(0):
        for number in range(args.steps + 1):
            loss, expected = ours.run(batch), plain.run(batch)
            if number == 0 and abs(loss - expected) > 1e-4 * abs(expected):
                raise RuntimeError(f"the two implementations disagree: loss {loss}, {expected}")
        fast, slow = (np.array(runner.seconds[1:]) for runner in (ours, plain))  # 0 warms up
        spread = slow / fast
        rates = [args.batch / np.median(seconds) for seconds in (slow, fast)]
        print(
            f"| {name} | {rates[0]:.2f} | {rates[1]:.2f} | {rates[1] / rates[0]:.2f}"
            f" | {spread.min():.2f}-{spread.max():.2f} |"
        )
        shares = parts(model, cfg, batch, args.steps)
    whole = float(np.median(fast))
    listed = ", ".join(f"{part} {seconds / whole:.1%}" for part, seconds in shares.items())
    print(f"\nOf one step ({whole:.2f} s; forward passes alone): {listed}\n", flush=True)


def main() -> None:
    """Parse the command line, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=CONFIGS, default=list(CONFIGS))
    parser.add_argument("--batch", type=int, default=8, help="images a step, of 10 views each")
    parser.add_argument("--steps", type=int, default=3, help="timed steps of each implementation")
    parser.add_argument("--out-dim", type=int, default=65536, help="K")
    args = parser.parse_args()
    print(f"torch {torch.__version__}, cpu, {torch.get_num_threads()} threads,", end=" ")
    print(f"batch {args.batch}, 2 x 256x128 + 8 x 128x64, K {args.out_dim}, float32\n")
    print("| model | straightforward, images/s | ours, images/s | ratio | step by step |")
    print("|---|---|---|---|---|")
    for name in args.models:
        measure(name, args)


if __name__ == "__main__":
    main()
