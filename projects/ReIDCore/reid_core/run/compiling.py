"""torch.compile by config: MODEL.COMPILE.

The parts of a model are compiled in place (``nn.Module.compile``), so that the keys of its
checkpoints, DistributedDataParallel and resuming are as without it. Which parts: what the model's
method ``parts_to_compile() -> Iterable[nn.Module]`` names, else its backbone. Another batch size
costs one more compilation, the sizes after it none.
"""

from __future__ import annotations

import functools
import logging
import os
import shutil
import sysconfig
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from fastreid.config import CfgNode
from fastreid.modeling.meta_arch import build as meta_arch_build
from fastreid_compat.registry import fix, rebind
from reid_common.errors import UserError
from torch import nn

from ..config.keys import CUDA_GRAPHS
from .compile_modes import (
    COUNTER,
    DEFAULT,
    INDUCTOR,
    backend_of,
    first_lines,
    keep_between_runs,
    mode_on,
    separate_steps,
)

logger = logging.getLogger(__name__)

COMPILERS = ("g++", "clang++", "c++", "cl")
WARM = 3  # training passes after which nothing new should be compiled
VARIANTS = 8  # of one part: for training, evaluation, and again for other batch sizes


@fix(
    where="modeling/meta_arch/build.py:19",
    since="torch 2.0",
    symptom="torch.compile needs code of one's own around the trainer",
)
def models_compiled() -> bool:
    """Let ``build_model`` compile the model where MODEL.COMPILE asks for it."""
    build_model = meta_arch_build.build_model

    @functools.wraps(build_model)
    def build_compiled(cfg: CfgNode) -> nn.Module:
        model = build_model(cfg)
        if cfg.MODEL.get("COMPILE", False):
            compile_model(model, mode=cfg.MODEL.get("COMPILE_MODE", DEFAULT))
        return model

    rebind(build_model, build_compiled)
    return True


def compile_model(model: nn.Module, backend: str = INDUCTOR, mode: str = DEFAULT) -> None:
    """Have a model, on the device where it will run, compiled in place at its first forward passes.

    Args:
        model: in place.
        backend: of torch.compile; torch's own compiler, or one without kernels of its own.
        mode: MODEL.COMPILE_MODE.

    Raises:
        UserError: this machine cannot compile.
    """
    device_type = next(model.parameters()).device.type
    check_compiler(device_type)
    mode = mode_on(device_type, mode)
    find_parts: Any = getattr(model, "parts_to_compile", None)
    parts = list(find_parts()) if find_parts else [model.get_submodule("backbone")]
    # Parts share their code, and may be variants of it.
    config = torch._dynamo.config
    limit = "recompile_limit" if hasattr(config, "recompile_limit") else "cache_size_limit"
    setattr(config, limit, max(getattr(config, limit), VARIANTS * len(parts)))
    for part in parts:
        part.compile(backend=backend_of(backend, mode))
    if mode == CUDA_GRAPHS:
        separate_steps(model)
    kinds = ", ".join(f"{count} x {name}" for name, count in _kinds(parts).items())
    logger.info("MODEL.COMPILE: %d part(s) are compiled at their first use: %s", len(parts), kinds)
    if backend == INDUCTOR:
        kept = keep_between_runs()
        logger.info("MODEL.COMPILE: mode %s; kernels are kept for later runs in %s", mode, kept)
    _report_when_warm(model)


def _kinds(parts: Sequence[nn.Module]) -> Counter[str]:
    return Counter(type(part).__name__ for part in parts)


class Counted(NamedTuple):
    """What torch has counted so far, of all models of this process."""

    graphs: int
    eager: int  # of them: its compiler failed
    left_out: int  # pieces of code that are in no graph
    reasons: Counter[str]  # why graphs end early


def _counted() -> Counted:
    counters: Mapping[str, Counter[str]] = torch._dynamo.utils.counters
    frames = counters["frames"]
    return Counted(
        counters["stats"]["unique_graphs"],
        counters[COUNTER]["eager"],
        frames["total"] - frames["ok"],
        Counter(counters["graph_break"]),
    )


def _report_when_warm(model: nn.Module) -> None:
    """Log the number of graphs, and warn of what stayed eager, after the first training passes."""
    passes, before = [0], _counted()

    def report(module: nn.Module, *_: Any) -> None:
        passes[0] += module.training
        if passes[0] < WARM:
            return
        handle.remove()
        _report(before, _counted())

    handle = model.register_forward_hook(report)


def _report(before: Counted, now: Counted) -> None:
    graphs, eager = now.graphs - before.graphs, now.eager - before.eager
    logger.info("MODEL.COMPILE: %d graph(s) after %d training passes", graphs, WARM)
    if eager:
        logger.warning("MODEL.COMPILE: %d of the %d graph(s) run eagerly, see above", eager, graphs)
    reasons = now.reasons - before.reasons
    gave_up = max(sum(reasons.values()), now.left_out - before.left_out)
    if gave_up or not graphs:
        logger.warning(
            "MODEL.COMPILE: torch gave up %d time(s) and runs what it left out eagerly, as "
            "without the key (%s); TORCH_LOGS=graph_breaks,recompiles says where",
            gave_up,
            first_lines(reasons) or "too many variants, or nothing that it can compile",
        )


def check_compiler(device_type: str) -> None:
    """Raise UserError when torch.compile would fail here, which it does late and at length."""
    named = os.environ.get("CXX")
    if not any(shutil.which(name) for name in ([named] if named else COMPILERS)):
        raise UserError(
            f"MODEL.COMPILE needs a C++ compiler, and there is no {named or 'g++ or clang++'} on "
            "this machine. Install one, such as with apt-get install g++, or set MODEL.COMPILE "
            "False"
        )
    header = Path(sysconfig.get_path("include")) / "Python.h"
    if device_type == "cpu" and not header.is_file():
        raise UserError(
            f"MODEL.COMPILE needs the headers of Python, and there is no {header}. Install them, "
            "such as with apt-get install python3-dev, or set MODEL.COMPILE False"
        )
