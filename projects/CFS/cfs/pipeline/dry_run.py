"""What a pipeline would do, printed without doing it: stages, sizes, operations, estimated time.

Operations are those of the backbones, and of DINO's head, counted by PyTorch on one image without
memory or arithmetic (device meta); a step of training counts three forward passes, as the backward
pass has two products for each of the forward's. What an image costs to read, the losses and the
optimizer are not counted. The time is the operations at the speed that a short run of the same
backbone has on this machine.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from dinopretrain.modeling.head import DINOHead
from fastreid.config import CfgNode
from fastreid.modeling.backbones import build_backbone
from fastreid_compat.repairs.config.settings import resolve_device
from fastreid_compat.repairs.training.mixed_precision import amp_dtype
from tabulate import tabulate
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transreid.inference.extractor import PRECISIONS

from . import checks as pipeline_checks
from .config import load_config
from .plan import plan
from .recording import duration
from .records import read_record
from .run import chosen_stages
from .sizes import planned_sizes
from .stages import Stage, find_config, is_dino

GLOBAL_VIEWS = 2
FORWARD_AND_BACKWARD = 3
MEASURED_SECONDS = 1.0
HEADERS = (
    "stage",
    "what",
    "state",
    "images",
    "ids",
    "kept",
    "epochs",
    "iterations",
    "PFLOP",
    "time",
)
EXPLANATION = """\
images: of the training, scored, or of all test sets. PFLOP: 10^15 floating-point operations (a
multiplication and an addition are two) of backbones and DINO's head. time: what the stage has
taken; with ~ an ESTIMATE"""
SPEED = """ from {speed}, which backbones were measured at here
({device}); reading images, the optimizer and ranking are not in it."""


def dry_run(
    config: str | Path, options: Sequence[Any] = (), only: Sequence[str] = (), start: str = ""
) -> str:
    """Table of a pipeline's stages; the checks are those of a run.

    Args:
        config: file of the pipeline.
        options: KEY VALUE pairs.
        only: as for :func:`pipeline_run.run_pipeline`.
        start: likewise.

    Raises:
        UserError: what would end the run at its start.
    """
    cfg = load_config(find_config(str(config)), options)
    chosen = chosen_stages(only, start)
    folder = Path(cfg.OUTPUT_DIR)
    stages = plan(cfg, folder)
    open_stages = [stage for stage in stages if stage.name in chosen]
    pipeline_checks.check_stages(stages, open_stages, folder, cfg)
    sizes = planned_sizes(stages, folder, cfg)
    operations = stage_operations({stage.name: stage for stage in stages}, sizes)
    meter = Speed()
    rows = [_row(stage, sizes[stage.name], operations, meter, folder) for stage in open_stages]
    return tabulate(rows, HEADERS, "github") + "\n\n" + meter.explanation()


def _row(
    stage: Stage,
    sizes: Mapping[str, int],
    operations: Mapping[str, float],
    meter: Speed,
    folder: Path,
) -> list[str]:
    record = read_record(folder, stage.name)
    count = operations.get(stage.name, 0.0)
    state, spent = "to do", ""
    if record is not None:
        state, spent = record.status, duration(record.seconds)
    if (record is None or not record.done) and count and stage.cfg is not None:
        speed = meter.measure(stage.cfg, stage.trains, precision(stage))
        estimate = f"~{duration(count / speed / stage.num_gpus)}"
        spent = f"{spent} of {estimate}" if spent else estimate
    cells = [sizes.get(key) for key in ("images", "identities", "kept", "epochs", "iterations")]
    words = ["" if cell is None else f"{cell:,}" for cell in cells]
    return [stage.name, stage.title, state, *words, f"{count / 1e15:.3g}" if count else "", spent]


def precision(stage: Stage) -> torch.dtype | None:
    """Type of a stage's matrix products; None: float32, which evaluation has with AMP, too."""
    if not stage.trains or stage.cfg is None:
        return PRECISIONS[stage.settings.get("SCORE.PRECISION", "fp32")]
    amp, kind = stage.cfg.SOLVER.AMP, resolve_device(stage.cfg).partition(":")[0]
    return amp_dtype(amp.DTYPE, kind) if amp.ENABLED else None


def stage_operations(
    stages: Mapping[str, Stage], sizes: Mapping[str, Mapping[str, int]]
) -> dict[str, float]:
    """Floating-point operations of each stage that has a model."""
    found: dict[str, float] = {}
    for name, stage in stages.items():
        if stage.trains and stage.cfg is not None:
            images = sizes[name]["iterations"] * stage.cfg.SOLVER.IMS_PER_BATCH
            found[name] = images * training_operations(stage.cfg)
    tests = {name: test_operations(stages[name].cfg) for name in ("source", "target", "finetune")}
    found["score"] = sizes["score"]["images"] * (tests["source"] + tests["target"])
    runs = [part["model"] for part in stages["evaluate"].parts]
    found["evaluate"] = sizes["evaluate"]["images"] * sum(tests[model] for model in runs)
    return found


def training_operations(cfg: CfgNode) -> float:
    """Operations of one step for one image."""
    height, width = cfg.INPUT.SIZE_TRAIN
    one = forward_operations(cfg, height, width)
    if not is_dino(cfg):
        return FORWARD_AND_BACKWARD * one
    local_views = cfg.DINO.LOCAL_VIEWS
    local = forward_operations(cfg, *cfg.DINO.LOCAL_SIZE) if local_views else 0.0
    head = _head_operations(cfg)
    teacher = GLOBAL_VIEWS * (one + head)
    student = GLOBAL_VIEWS * (one + head) + local_views * (local + head)
    return teacher + FORWARD_AND_BACKWARD * student


def test_operations(cfg: CfgNode | None) -> float:
    """Operations of the feature of one image."""
    assert cfg is not None
    return forward_operations(cfg, *cfg.INPUT.SIZE_TEST)


def forward_operations(cfg: CfgNode, height: int, width: int) -> float:
    """Operations of a backbone's forward pass on one image of ``height`` x ``width`` pixels."""
    with torch.device("meta"):
        backbone = _backbone(cfg).eval()
        images = torch.empty(1, 3, height, width)
        return _counted(lambda: backbone(images))


def _head_operations(cfg: CfgNode) -> float:
    options = cfg.DINO
    with torch.device("meta"):
        width = cfg.MODEL.BACKBONE.FEAT_DIM
        sizes = (options.OUT_DIM, options.HIDDEN_DIM, options.BOTTLENECK_DIM)
        head = DINOHead(width, *sizes, options.NORM_LAST_LAYER).eval()
        features = torch.empty(1, width)
        return _counted(lambda: head(features))


def _counted(function: Callable[[], Any]) -> float:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        function()
    return float(counter.get_total_flops())


def _backbone(cfg: CfgNode) -> nn.Module:
    """A backbone with random weights that takes images of any size, and knows no cameras."""
    cfg = cfg.clone()
    cfg.MODEL.BACKBONE.PRETRAIN = False
    cfg.MODEL.SIE.CAMERA = cfg.MODEL.SIE.VIEW = False
    backbone = build_backbone(cfg)
    vars(backbone)["any_size"] = True
    return backbone


class Speed:
    """Measures how fast this machine works through backbones, each once."""

    def __init__(self) -> None:
        self._known: dict[str, float] = {}
        self._device = ""

    def measure(self, cfg: CfgNode, training: bool, dtype: torch.dtype | None) -> float:
        """Operations a second, in training or in forward passes alone; dtype: of autocast."""
        self._device = resolve_device(cfg)
        size = [*cfg.INPUT.SIZE_TRAIN]
        key = repr((cfg.MODEL.BACKBONE, size, training, dtype, self._device))
        if key not in self._known:
            with torch.random.fork_rng():
                self._known[key] = _measured(cfg, self._device, training, dtype)
        return self._known[key]

    def explanation(self) -> str:
        """What the table's columns are."""
        if not self._known:
            return EXPLANATION + "."
        speeds = [speed / 1e12 for speed in self._known.values()]
        low, high = f"{min(speeds):.2g}", f"{max(speeds):.2g}"
        speed = f"{low} to {high} TFLOP/s" if low != high else f"{high} TFLOP/s"
        return EXPLANATION + SPEED.format(speed=speed, device=self._device)


def _measured(cfg: CfgNode, device: str, training: bool, dtype: torch.dtype | None) -> float:
    height, width = cfg.INPUT.SIZE_TRAIN
    batch = min(cfg.SOLVER.IMS_PER_BATCH, 64 if device.startswith("cuda") else 4)
    backbone = _backbone(cfg).to(device).train(training)
    images = torch.randn(batch, 3, height, width, device=device)
    operations = batch * forward_operations(cfg, height, width)
    kind = device.partition(":")[0]

    def forward() -> torch.Tensor:
        with torch.autocast(kind, dtype, enabled=dtype is not None):
            return backbone(images).float().square().mean()

    def step() -> None:
        backbone.zero_grad()
        forward().backward()

    if training:
        return FORWARD_AND_BACKWARD * operations / _seconds(step, device)
    with torch.no_grad():
        return operations / _seconds(forward, device)


def _seconds(function: Callable[[], Any], device: str) -> float:
    """Seconds of a call, the fastest of those that fit a second, after one that warms up."""

    def timed() -> float:
        start = time.perf_counter()
        function()
        if device.startswith("cuda"):
            torch.cuda.synchronize(device)
        return time.perf_counter() - start

    timed()
    times = [timed()]
    while sum(times) < MEASURED_SECONDS:
        times.append(timed())
    return min(times)
