"""What a pipeline would do, printed without doing it: stages, sizes, operations, estimated time.

The time is the operations at the speed that a short run of the same backbone has on this machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from dinopretrain.data.listing import read_list
from fastreid_compat.repairs.config.settings import resolve_device
from fastreid_compat.repairs.training.mixed_precision import amp_dtype
from tabulate import tabulate
from transreid.inference.extractor import PRECISIONS

from ..scores.selection import number_kept
from . import checks
from .operations import SpeedMeter, test_operations, training_operations
from .plan import planned
from .records import duration, read_record
from .stages import Stage, TrainingStage
from .stages.selection import SELECTION
from .stages.training import training_size

COUNTS = {
    "images": "images",
    "identities": "ids",
    "kept": "kept",
    "epochs": "epochs",
    "iterations": "iterations",
}
HEADERS = ("stage", "what", "state", *COUNTS.values(), "PFLOP", "time")
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
        only: as for :func:`cfs.pipeline.run.run_pipeline`.
        start: likewise.

    Raises:
        UserError: what would end the run at its start.
    """
    cfg, stages, chosen = planned(config, options, only, start)
    folder = Path(cfg.OUTPUT_DIR)
    checks.check_stages(stages, chosen, folder, cfg)
    by_name = {stage.name: stage for stage in stages}
    sizes = planned_sizes(by_name, folder, cfg)
    operations = stage_operations(by_name, sizes)
    meter = SpeedMeter()
    rows = [
        _row(stage, sizes[stage.name], operations.get(stage.name, 0.0), meter, folder)
        for stage in chosen
    ]
    return tabulate(rows, HEADERS, "github") + "\n\n" + _explanation(meter)


def planned_sizes(stages: Mapping[str, Stage], folder: Path, cfg: Any) -> dict[str, dict[str, int]]:
    """Sizes of all stages, as far as they are known before they run.

    Args:
        stages: by name.
        folder: OUTPUT_DIR.
        cfg: of the pipeline.

    Raises:
        UserError: a data set cannot be opened.
    """
    sizes = {
        name: stages[name].sizes(folder) for name in ("source", "target", "finetune", "evaluate")
    }
    images = training_size(stages["source"].model_cfg)["images"]
    kept = number_kept(images, cfg.KEEP, cfg.KEEP_NUM)
    if (folder / SELECTION).is_file():
        kept = len(read_list(str(folder / SELECTION)))
    pretrain = stages["pretrain"]
    assert isinstance(pretrain, TrainingStage)
    return {
        **sizes,
        "score": {"images": images},
        "select": {"images": images, "kept": kept},
        "pretrain": pretrain.sizes(folder, most=kept),
    }


def stage_operations(
    stages: Mapping[str, Stage], sizes: Mapping[str, Mapping[str, int]]
) -> dict[str, float]:
    """Floating-point operations of each stage that has a model."""
    found = {
        name: sizes[name]["iterations"]
        * stage.model_cfg.SOLVER.IMS_PER_BATCH
        * training_operations(stage.model_cfg)
        for name, stage in stages.items()
        if stage.trains
    }
    tests = {n: test_operations(stages[n].model_cfg) for n in ("source", "target", "finetune")}
    found["score"] = sizes["score"]["images"] * (tests["source"] + tests["target"])
    runs = [part["model"] for part in stages["evaluate"].parts]
    found["evaluate"] = sizes["evaluate"]["images"] * sum(tests[model] for model in runs)
    return found


def _row(
    stage: Stage, sizes: Mapping[str, int], operations: float, meter: SpeedMeter, folder: Path
) -> list[str]:
    record = read_record(folder, stage.name)
    state, spent = "to do", ""
    if record is not None:
        state, spent = record.status, duration(record.seconds)
    if operations and (record is None or not record.done):
        speed = meter.measure(stage.model_cfg, stage.trains, precision(stage))
        estimate = f"~{duration(operations / speed / stage.num_gpus)}"
        spent = f"{spent} of {estimate}" if spent else estimate
    counts = [f"{sizes[key]:,}" if key in sizes else "" for key in COUNTS]
    petaflop = f"{operations / 1e15:.3g}" if operations else ""
    return [stage.name, stage.title, state, *counts, petaflop, spent]


def precision(stage: Stage) -> torch.dtype | None:
    """Type of a stage's matrix products; None: float32, which evaluation has with AMP, too."""
    if not stage.trains:
        return PRECISIONS[stage.settings.get("SCORE.PRECISION", "fp32")]
    amp, kind = stage.model_cfg.SOLVER.AMP, resolve_device(stage.model_cfg).partition(":")[0]
    return amp_dtype(amp.DTYPE, kind) if amp.ENABLED else None


def _explanation(meter: SpeedMeter) -> str:
    """What the table's columns are."""
    if not meter.speeds:
        return EXPLANATION + "."
    speeds = [speed / 1e12 for speed in meter.speeds.values()]
    low, high = f"{min(speeds):.2g}", f"{max(speeds):.2g}"
    speed = f"{low} to {high} TFLOP/s" if low != high else f"{high} TFLOP/s"
    return EXPLANATION + SPEED.format(speed=speed, device=meter.device)
