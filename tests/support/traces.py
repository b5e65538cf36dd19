"""Traces of released pre-training code, and what replays them through our steps.

All in float64, as they were calculated: parameters whose gradient is 0 but for rounding walk in
float32.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from dinopretrain.engine.step import PretrainStep
from dinopretrain.engine.trainer import Schedules
from fastreid.config import CfgNode
from fastreid.utils.events import EventStorage
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from transreid import TransReIDBackbone

GOLDEN = Path(__file__).parents[1] / "golden"
CLOSE = {"atol": 1e-6, "rtol": 1e-6}


class Trace:
    """Arrays of a part of a golden file, and its settings."""

    def __init__(self, name: str, part: str) -> None:
        with np.load(GOLDEN / f"{name}_trace.npz") as file:
            self.whole_meta = json.loads(str(file["meta"]))
            self.meta: dict[str, Any] = self.whole_meta[part]
            wanted = [key for key in file.files if key.startswith(f"{part}/")]
            self.arrays = {key.removeprefix(f"{part}/"): file[key] for key in wanted}

    def tensor(self, key: str) -> Tensor:
        array = self.arrays[key]
        return torch.from_numpy(array).to(torch.float64 if array.dtype.kind == "f" else torch.long)

    def state(self, prefix: str) -> dict[str, Tensor]:
        return {k.removeprefix(prefix): self.tensor(k) for k in self.arrays if k.startswith(prefix)}

    def pairs(self, first: str, second: str, steps: int) -> list[dict[str, Tensor]]:
        """Views of each step as the loader gives them, but normalised: (B, 2, H, W, 3)."""
        views = [
            torch.stack([self.tensor(f"{name}/{step}") for name in (first, second)], 1)
            for step in range(steps)
        ]
        return [{"global_views": view.permute(0, 1, 3, 4, 2)} for view in views]


class SmallCNN(nn.Module):
    """conv1 - bn1 - ReLU - conv2 - bn2 - ReLU: a map (B, D, h, w)."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, widths[0], 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.conv2 = nn.Conv2d(widths[0], widths[1], 3, 2, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(widths[1])

    def forward(self, images: Tensor) -> Tensor:
        maps = self.bn1(self.conv1(images)).relu()
        return self.bn2(self.conv2(maps)).relu()


def small_vit(size: Sequence[int], patch: int, width: int, depth: int, heads: int) -> nn.Module:
    vit = VisionTransformer(
        img_size=tuple(size),
        patch_size=patch,
        num_classes=0,
        embed_dim=width,
        depth=depth,
        num_heads=heads,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
    )
    return TransReIDBackbone(vit, tuple(size), (patch, patch))


def backbone_of(meta: dict[str, Any]) -> nn.Module:
    if "widths" in meta:
        return SmallCNN(meta["widths"])
    return small_vit(meta["img"], meta["patch"], meta["width"], meta["depth"], meta["heads"])


class AlreadyNormalised:
    """Mixed in before a method: its views are normalised already."""

    def normalised(self, views: Tensor) -> Tensor:
        return views.transpose(0, 1).flatten(0, 1).permute(0, 3, 1, 2)


def settings(**sections: dict[str, Any]) -> CfgNode:
    return CfgNode({name: CfgNode(values) for name, values in sections.items()})


def replay(
    model: Any,
    cfg: CfgNode,
    batches: Iterable[dict[str, Tensor]],
    per_epoch: int,
    num_steps: int,
    after: Callable[[int, Any], None],
    parallel: bool = False,
    clip: float = 0.0,
) -> None:
    """Make the steps of a run with our hooks; ``after`` gets each step's number and settings.

    It gets a namespace of ``lr``, ``optimizer``, ``storage`` (latest metrics) and ``gradients``.
    """
    optimizer = model.build_optimizer(cfg)
    wrapped = DistributedDataParallel(model, broadcast_buffers=False) if parallel else model
    simple = SimpleNamespace(
        model=wrapped, optimizer=optimizer, data_loader=None, _data_loader_iter=iter(batches)
    )
    stepper = PretrainStep(simple, dtype=None, clip=clip)
    gradients: dict[str, Tensor] = {}
    step_of_optimizer = optimizer.step

    def step(*args: Any) -> Any:
        gradients.update(
            {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
        )
        return step_of_optimizer(*args)

    optimizer.step = step
    schedules = Schedules(cfg)
    with EventStorage(0) as storage:
        schedules.trainer = SimpleNamespace(
            max_iter=num_steps,
            iters_per_epoch=per_epoch,
            optimizer=optimizer,
            _trainer=stepper,
            storage=storage,
        )
        for number in range(num_steps):
            gradients.clear()
            schedules.trainer.iter = number
            schedules.before_step()
            stepper.run_step()
            schedules.after_step()
            seen = SimpleNamespace(
                lr=optimizer.param_groups[0]["lr"],
                momentum=schedules.momentum,
                optimizer=optimizer,
                metrics={k: float(np.ravel(v)[0]) for k, v in storage.latest().items()},
                gradients=dict(gradients),
            )
            after(number, seen)


def recorded(model: Any, *names: str) -> dict[str, list[Tensor]]:
    """What methods of a model give, in the order of the calls; the caller clears the lists."""
    seen: dict[str, list[Tensor]] = {name: [] for name in names}

    def record(name: str) -> None:
        original = getattr(model, name)

        def recording(*args: Any) -> Any:
            result = original(*args)
            seen[name].append(result.detach().clone() if isinstance(result, Tensor) else result)
            return result

        setattr(model, name, recording)

    for name in names:
        record(name)
    return seen


def compare(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Every tensor, by name."""
    assert set(found) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(
            found[name].to(value), value, **CLOSE, msg=lambda text, name=name: f"{name}: {text}"
        )
