"""What a pipeline would do, printed without doing it: stages, sizes, operations, estimated time.

The time is the operations at the speed that a short run of the same backbone has on this machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from dinopretrain.data.listing import read_list
from fastreid.config import CfgNode
from fastreid_compat.repairs.config.settings import resolve_device
from fastreid_compat.repairs.training.mixed_precision import amp_dtype
from tabulate import tabulate
from transreid.inference.extractor import PRECISIONS

from ..scores.selection import number_kept
from . import checks
from .operations import forward_operations, measured_speed, training_operations
from .plan import planned
from .records import duration, read_record
from .stages.selection import SELECTION
from .stages.stage import Stage
from .stages.training import TrainingStage, training_size

COUNTS = ("images", "identities", "kept", "epochs", "iterations")
HEADERS = ("stage", "what", "state", "images", "ids", *COUNTS[2:], "PFLOP", "time")
EXPLANATION = """\
images: of the training, scored, or of all test sets. PFLOP: 10^15 floating-point operations (a
multiplication and an addition are two) of backbones and DINO's head. time: what the stage has
taken; with ~ an ESTIMATE"""
SPEED = """ from {speed} TFLOP/s, which backbones were measured at here
({device}); reading images, the optimizer and ranking are not in it."""


def dry_run(
    config: str | Path, options: Sequence[Any] = (), only: Sequence[str] = (), start: str = ""
) -> str:
    """Table of a pipeline's stages; arguments and checks are those of ``run.run_pipeline``.

    Raises:
        UserError: what would end the run at its start.
    """
    cfg, stages, chosen = planned(config, options, only, start)
    checks.check_stages(stages, chosen, Path(cfg.OUTPUT_DIR), cfg)
    by_name = {stage.name: stage for stage in stages}
    sizes = planned_sizes(by_name, cfg)
    operations = stage_operations(by_name, sizes)
    speeds: dict[str, float] = {}
    rows = [_row(stage, sizes[stage.name], operations[stage.name], speeds) for stage in chosen]
    explanation = EXPLANATION + "."
    if speeds:
        bounds = (min(speeds.values()), max(speeds.values()))
        speed = " to ".join(dict.fromkeys(f"{bound / 1e12:.2g}" for bound in bounds))
        device = next(resolve_device(stage.cfg) for stage in chosen if stage.cfg)
        explanation = EXPLANATION + SPEED.format(speed=speed, device=device)
    return f"{tabulate(rows, HEADERS, 'github')}\n\n{explanation}"


def planned_sizes(stages: Mapping[str, Stage], cfg: CfgNode) -> dict[str, dict[str, int]]:
    """Sizes of all stages (by name), as far as they are known before they run."""
    sizes = {name: stages[name].sizes() for name in ("source", "target", "finetune", "evaluate")}
    images = training_size(stages["source"].cfg)["images"]
    kept = number_kept(images, cfg.KEEP, cfg.KEEP_NUM)
    selection = Path(cfg.OUTPUT_DIR) / SELECTION
    if selection.is_file():
        kept = len(read_list(str(selection)))
    pretrain = stages["pretrain"]
    assert isinstance(pretrain, TrainingStage)
    return {
        **sizes,
        "score": {"images": images},
        "select": {"images": images, "kept": kept},
        "pretrain": pretrain.sizes(most=kept),
    }


def stage_operations(
    stages: Mapping[str, Stage], sizes: Mapping[str, Mapping[str, int]]
) -> dict[str, float]:
    """Floating-point operations of each stage; 0 where no model works."""
    found = {"select": 0.0}
    tests = {}
    for name, stage in stages.items():
        if stage.trains:
            cfg = stage.cfg
            images = sizes[name]["iterations"] * cfg.SOLVER.IMS_PER_BATCH
            found[name] = images * training_operations(cfg)
            tests[name] = forward_operations(cfg, *cfg.INPUT.SIZE_TEST)
    found["score"] = sizes["score"]["images"] * (tests["source"] + tests["target"])
    runs = [part["model"] for part in stages["evaluate"].parts]
    found["evaluate"] = sizes["evaluate"]["images"] * sum(tests[model] for model in runs)
    return found


def _row(
    stage: Stage, sizes: Mapping[str, int], operations: float, speeds: dict[str, float]
) -> list[str]:
    record = read_record(stage.folder, stage.name)
    state, spent = "to do", ""
    if record is not None:
        state, spent = record.status, duration(record.seconds)
    if operations and (record is None or not record.done):
        speed = measured_speed(stage.cfg, stage.trains, _precision(stage), speeds)
        estimate = f"~{duration(operations / speed / stage.num_gpus)}"
        spent = f"{spent} of {estimate}" if spent else estimate
    counts = [f"{sizes[key]:,}" if key in sizes else "" for key in COUNTS]
    petaflop = f"{operations / 1e15:.3g}" if operations else ""
    return [stage.name, stage.title, state, *counts, petaflop, spent]


def _precision(stage: Stage) -> torch.dtype | None:
    """Type of a stage's matrix products; None: float32, which evaluation has with AMP, too."""
    if not stage.trains:
        return PRECISIONS[stage.settings.get("SCORE.PRECISION", "fp32")]
    amp, kind = stage.cfg.SOLVER.AMP, resolve_device(stage.cfg).partition(":")[0]
    return amp_dtype(amp.DTYPE, kind) if amp.ENABLED else None
