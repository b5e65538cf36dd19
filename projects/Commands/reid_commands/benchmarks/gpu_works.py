"""What gpu_step.py measures: steps and inference, by whoever makes them."""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import reid_core  # noqa: F401  (first: repairs FastReID)
import torch
from fastreid.engine.train_loop import AMPTrainer
from fastreid.solver import build_optimizer
from fastreid_compat.repairs.training.mixed_precision import amp_dtype
from reid_core.run.compiling import compile_model
from torch import Tensor
from transreid.training import model_with

from .dino_step import plain_step
from .models import (
    DINO_CONFIGS,
    JPM_AND_SIE,
    MOMENTUM,
    NUM_CAMERAS,
    adamw,
    dino_on_noise,
    dino_trainer,
    vit_config,
)
from .train_step import INSTANCES, plain_losses

# Variants whose graphs are no operators -> MODEL.COMPILE_MODE
COMPILED = {"compiled": "default", "CUDA graphs": "reduce-overhead"}
BASELINE_HEAD = {"MODEL.HEADS.NAME": "BNNeckHead", "MODEL.SIE.CAMERA": False}


class Work(NamedTuple):
    """Something to measure: ``build`` returns what runs once, on ``images`` images."""

    group: str
    variant: str
    images: int
    build: Callable[[], Callable[[], Any]]


def device() -> torch.device:
    """The GPU, if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def finish() -> None:
    """Wait for all that was asked of the GPU."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def compile_as(variant: str, model: Any) -> None:
    """Compile a model, if the variant is a compiled one."""
    if variant in COMPILED:
        compile_model(model, mode=COMPILED[variant])


def supervised(name: str, args: argparse.Namespace, keys: dict[str, Any]) -> tuple[Any, Any, Any]:
    """Config, model and batch of a supervised step."""
    torch.manual_seed(0)
    more = {**JPM_AND_SIE, **keys, "MODEL.DEVICE": device().type, "SOLVER.AMP.ENABLED": True}
    cfg = vit_config(name, args.size, args.stride, more)
    batch = {
        "images": torch.rand(args.batch, 3, *args.size) * 255,
        "targets": torch.arange(args.batch) // INSTANCES,
        "camids": torch.arange(args.batch) % NUM_CAMERAS,
    }
    batch = {key: value.to(device()) for key, value in batch.items()}
    return cfg, model_with(cfg, weights="").train(), batch


class Again:
    """An endless loader of one batch."""

    def __init__(self, batch: Any) -> None:
        self.batch = batch

    def __iter__(self) -> Again:
        return self

    def __next__(self) -> Any:
        return self.batch


def trainers_step(
    name: str, args: argparse.Namespace, keys: dict[str, Any], variant: str
) -> Callable[[], Any]:
    """A step of FastReID's trainer with mixed precision."""
    cfg, model, batch = supervised(name, args, keys)
    compile_as(variant, model)
    trainer = AMPTrainer(model, Again(batch), *build_optimizer(cfg, model))
    trainer.iter = 0
    return trainer.run_step


def straightforward_step(name: str, args: argparse.Namespace) -> Callable[[], Any]:
    """A step that logs its loss, with explicit attention, part by part, parameter by parameter."""
    _, model, batch = supervised(name, args, {})
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(parameters, lr=1e-4, momentum=0.9, foreach=False)
    dtype = amp_dtype("auto", device().type)
    scaler = torch.amp.GradScaler(device().type, enabled=dtype is torch.float16)

    def step() -> float:
        with torch.autocast(device().type, dtype=dtype, enabled=dtype is not None):
            loss = torch.stack(list(plain_losses(model, batch).values())).sum()
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        return loss.item()

    return step


def dino(name: str, args: argparse.Namespace, variant: str) -> Callable[[], Any]:
    """A step of DINO."""
    size = [*args.size]
    keys: dict[str, Any] = {
        "INPUT.SIZE_TRAIN": size,
        "INPUT.SIZE_TEST": size,
        "DINO.OUT_DIM": args.out_dim,
    }
    keys |= {"DINO.LOCAL_SIZE": [side // 2 for side in size], "MODEL.BACKBONE.DROP_PATH_RATIO": 0.0}
    options = [word for pair in keys.items() for word in pair]
    cfg, model, batch = dino_on_noise(DINO_CONFIGS[name], args.dino_batch, options)
    model.to(device())
    batch = {key: value.to(device()) for key, value in batch.items()}
    dtype = amp_dtype("auto", device().type)
    if variant == "straightforward":
        optimizer = adamw(model)

        def plain() -> float:
            with torch.autocast(device().type, dtype=dtype, enabled=dtype is not None):
                return plain_step(model, optimizer, cfg.DINO.CLIP_GRADIENT, batch)

        return plain
    compile_as(variant, model)
    trainer = dino_trainer(cfg, model, batch, dtype)

    def step() -> None:
        trainer.run_step()
        model.update_teacher(MOMENTUM, trainer.finite)

    return step


def features(name: str, args: argparse.Namespace, variant: str) -> Callable[[], Any]:
    """Features of a batch."""
    _, model, batch = supervised(name, args, {})
    compile_as(variant, model)
    model.eval()
    times = -(-args.test_batch // args.batch)
    batch = {k: torch.cat([v] * times)[: args.test_batch] for k, v in batch.items()}
    dtype = amp_dtype("auto", device().type)

    def run() -> Tensor:
        with torch.inference_mode(), torch.autocast(device().type, dtype, enabled=bool(dtype)):
            return model(batch)

    return run


def works(name: str, args: argparse.Namespace) -> Iterator[Work]:
    """What is measured of one model."""
    count = args.batch
    graphs = [name for name in COMPILED if name == "compiled" or torch.cuda.is_available()]
    variants = ["eager"] if args.eager_only else ["eager", *graphs]
    plain = functools.partial(straightforward_step, name, args)
    yield Work("JPM + SIE", "straightforward", count, plain)
    heads: dict[str, dict[str, Any]] = {"JPM + SIE": {}, "baseline": BASELINE_HEAD}
    for group, keys in heads.items():
        for v in variants:
            build = functools.partial(trainers_step, name, args, keys, v)
            yield Work(group, v, count, build)
    for v in ["straightforward", *variants]:
        yield Work("DINO", v, args.dino_batch, functools.partial(dino, name, args, v))
    for v in variants:
        build = functools.partial(features, name, args, v)
        yield Work("features", v, args.test_batch, build)
