"""What a quantisation found, as Markdown and JSON: size, speed, accuracy, layers kept."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from fasteval.analysis.bootstrap import Interval
from reid_common.files import replacing, write_json
from reid_common.timing import Comparison, alternate, timed
from tabulate import tabulate

from ..inference.backends.backend import BACKENDS, Backend
from .guarantee import Paired
from .job import Job, Outcome

LEAST_SECONDS = 0.5  # of one measurement of the speed


def measured_speed(
    contenders: Mapping[str, Backend], image_size: tuple[int, int], batch: int, rounds: int
) -> Comparison:
    """Time backends, in turns, from a batch of pixels in memory to features.

    Args:
        contenders: by name; the first is the baseline.
        image_size: (H, W) in pixels.
        batch: images.
        rounds: measurements of each, whose median counts.
    """
    draw = torch.Generator().manual_seed(0)
    images = (torch.rand(batch, 3, *image_size, generator=draw) * 255).round()
    ids = torch.full((batch,), 0)
    calls = {
        name: (lambda backend=backend: backend(images, ids, ids))  # type: ignore[misc]
        for name, backend in contenders.items()
    }
    for call in calls.values():  # warms up
        call()
    return alternate({name: timed(call, LEAST_SECONDS) for name, call in calls.items()}, rounds)


def text_of(job: Job, outcome: Outcome, speed: Comparison | None) -> str:
    """The report in Markdown."""
    points = f"{100 * job.margin:g} points"
    verdict = (
        f"**Accepted**: neither measure is lower by more than {points} (one-sided 95%)."
        if outcome.accepted
        else f"**Refused**: a measure may be lower by more than {points} (one-sided 95%); no file "
        "was written. Calibrate on images as the model will see them, give more of them, allow "
        "more layers in float32 (`--most-kept`) or a larger margin."
    )
    last = outcome.attempts[-1]
    kept = ", ".join(f"`{name}`" for name in last.kept) or "none"
    parts = [
        f"# int8 of {job.model.name}",
        verdict,
        f"Calibrated on {len(job.calibration)} images of {job.names[0]}, validated on "
        f"{job.validation.num_query} queries and "
        f"{len(job.validation.items) - job.validation.num_query} gallery images of "
        f"{job.names[1]}. {outcome.num_layers} layers, {outcome.num_smoothed} of them smoothed"
        f"{'' if job.recipe.per_channel else ', one scale for all channels of a weight'}.",
        _accuracy(outcome),
        _sizes(job, outcome),
        *([_speeds(speed, job.batch_size)] if speed else []),
        f"Layers that stay in float32: {kept}.",
    ]
    if outcome.sensitivities:
        parts.append(_sensitive(outcome))
    return "\n\n".join(parts) + "\n"


def _accuracy(outcome: Outcome) -> str:
    rows = [
        [
            str(len(attempt.kept)),
            BACKENDS[result.backend],
            result.measure,
            *map(_interval, (result.first, result.second)),
            f"{result.difference.mean:+.2f}",
            f"{result.difference.low:+.2f}",
            "yes" if result.accepted else "no",
        ]
        for attempt in outcome.attempts
        for result in attempt.results
    ]
    names = ["layers in float32", "int8 by", "measure", "float32, % (95%)", "int8, % (95%)"]
    return _table(rows, [*names, "difference", "its lower bound", "accepted"])


def _sizes(job: Job, outcome: Outcome) -> str:
    files = {"float32": job.model, "int8": job.int8(outcome)}
    rows = [[name, f"{os.path.getsize(file) / 2**20:.1f}"] for name, file in files.items()]
    return _table(rows, ["file", "MiB"])


def _speeds(speed: Comparison, batch: int) -> str:
    rows = [
        [
            str(row["contender"]),
            *(f"{row[key]:.3g}" for key in ("images/s", "ratio of seconds")),
            str(row["round by round"]),
        ]
        for row in speed.rows(images=batch)
    ]
    table = _table(rows, ["", "images/s", "ratio", "round by round"])
    return f"Speed, in turns, {torch.get_num_threads()} thread(s), {batch} images:\n\n{table}"


def _sensitive(outcome: Outcome) -> str:
    found = sorted(outcome.sensitivities.items(), key=lambda pair: -pair[1])[:10]
    table = _table(
        [[f"`{name}`", f"{error:.2e}"] for name, error in found], ["layer alone in int8", "error"]
    )
    return f"Most sensitive layers (1 - cosine of the feature):\n\n{table}"


def _interval(one: Interval) -> str:
    return f"{one.mean:.2f} ({one.low:.2f} to {one.high:.2f})"


def _table(rows: list[list[str]], headers: list[str]) -> str:
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True)


def write_report(job: Job, outcome: Outcome, speed: Comparison | None) -> tuple[str, Path]:
    """Write OUT.report.md and .json; returns the text and the Markdown file."""
    text, file = text_of(job, outcome, speed), job.out.with_name(f"{job.out.name}.report.md")
    with replacing(file) as temporary:
        temporary.write_text(text, encoding="utf-8")
    write_json(file.with_suffix(".json"), as_json(job, outcome, speed))
    return text, file


def as_json(job: Job, outcome: Outcome, speed: Comparison | None) -> dict[str, Any]:
    """All of it, unrounded."""
    return {
        "model": str(job.model),
        "accepted": outcome.accepted,
        "margin_points": 100 * job.margin,
        "far": job.far,
        "calibration": job.names[0],
        "calibration_images": len(job.calibration),
        "validation": job.names[1],
        "recipe": asdict(job.recipe),
        "layers": outcome.num_layers,
        "smoothed": outcome.num_smoothed,
        "attempts": [
            {"kept_in_float32": one.kept, "results": [_plain(x) for x in one.results]}
            for one in outcome.attempts
        ],
        "sensitivities": outcome.sensitivities,
        "speed": [dict(row) for row in speed.rows(job.batch_size)] if speed else [],
    }


def _plain(result: Paired) -> dict[str, Any]:
    """A result as JSON can hold it, which has no NaN."""
    found = asdict(result)
    for value in found.values():
        if isinstance(value, dict):
            value.update({k: None for k, v in value.items() if not math.isfinite(v)})
    return found
