"""What a pipeline's report says: from the records and files of its folder to tables and texts."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
from reid_common.errors import UserError
from reid_common.report_pages import Block, Code, Report, Section, Table, Text
from reid_core.data.names import split_name

from ...scores.reading import read_scores
from ...scores.summary import headline, summary_of
from ..config import STAGES
from ..records import FOLDER, Record, read_record
from .pictures import draw_scores, draw_training
from .tables import (
    NOT_RUN,
    bad_table,
    progress,
    read_results,
    results_table,
    stage_table,
    versions_table,
)

SYNTHETIC = ("ToyReID", "ToyUnlabeled")
# Stages in whose settings the data sets of the source and of the target stand, and the keys
SOURCE = (("source", "DATASETS.NAMES"), ("score", "DATASETS.NAMES"))
TARGET = (
    ("target", "DATASETS.TESTS"),
    ("target", "DATASETS.NAMES"),
    ("finetune", "DATASETS.TESTS"),
)


def read_records(folder: Path) -> dict[str, Record | None]:
    """Records by stage: the seven of a pipeline, None for those not run, then what else there is.

    Raises:
        UserError: it is no folder of a pipeline, or a record is damaged.
    """
    found = [path.stem for path in sorted((folder / FOLDER).glob("*.json"))]
    if not found:
        raise UserError(
            f"{str(folder)!r} is no folder of a pipeline: there is no record in its {FOLDER}/; "
            "name the OUTPUT_DIR of tools/conditional_pretrain.py"
        )
    return {name: read_record(folder, name) for name in dict.fromkeys([*STAGES, *found])}


def content(folder: Path) -> Report:
    """All of the report; draws its pictures.

    Args:
        folder: OUTPUT_DIR of a pipeline.

    Raises:
        UserError: it is none, or what is in it is damaged.
    """
    records = read_records(folder)
    done = {name: record for name, record in records.items() if record is not None}
    results = read_results(folder, done)
    source, target = names_in(done, SOURCE), names_in(done, TARGET)
    tests = list(dict.fromkeys(str(row["dataset"]) for row in results))
    title = "Conditional pre-training"
    if source and target:
        title += f": {', '.join(source)} for {', '.join(target)}"
    sections = [
        Section("Stages", [stage_table(records), Text(progress(records))]),
        Section(
            "Results", [results_table(results) if results else Text(f"Evaluation: {NOT_RUN}.")]
        ),
        Section("Scores", _score_blocks(folder, done.get("score"), target)),
        Section("Selection", [Text(selection_text(folder, done.get("select")))]),
        Section("Training", draw_training(folder) or [Text(f"Training: {NOT_RUN}.")]),
        Section(
            "Commands", [Text("As they were run, from the repository's folder."), *_commands(done)]
        ),
        Section("Versions", [versions_table(done)]),
        Section("Settings", [_settings(record) for record in done.values()]),
    ]
    return Report(title, [dates(done), data_text(source, target, tests)], sections)


def names_in(records: Mapping[str, Record], places: Sequence[tuple[str, str]]) -> list[str]:
    """Names of data sets: what the first of the places holds that holds any."""
    for stage, key in places:
        value = records[stage].settings.get(key) if stage in records else None
        if value:
            return [value] if isinstance(value, str) else [str(name) for name in value]
    return []


def dates(records: Mapping[str, Record]) -> str:
    """When it was started, and when the last stage that is done was done."""
    started = min((record.started for record in records.values() if record.started), default="")
    ended = max((record.finished for record in records.values() if record.finished), default="")
    first = f"Started {_date(started)}" if started else "Started at a time that was not recorded"
    return first + (f", last stage done {_date(ended)}." if ended else ", no stage done yet.")


def _date(text: str) -> str:
    try:
        return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M %Z}".strip()
    except ValueError:
        return text


def data_text(source: Sequence[str], target: Sequence[str], tests: Sequence[str]) -> str:
    """What the data are."""
    roles = {"Source": source, "Target": target, "Tested on": tests}
    parts = [f"{role}: {', '.join(names) or NOT_RUN}." for role, names in roles.items()]
    named = dict.fromkeys(split_name(name)[0] for names in roles.values() for name in names)
    drawn = [name for name in named if name in SYNTHETIC]
    if drawn:
        verb = "are synthetic data sets" if len(drawn) > 1 else "is a synthetic data set"
        parts.append(
            f"{' and '.join(drawn)} {verb}, drawn by a program: metrics on synthetic images "
            "are no measurement on photographs."
        )
    return " ".join(parts)


def _score_blocks(folder: Path, record: Record | None, target: Sequence[str]) -> list[Block]:
    """Numbers and pictures of the scores."""
    path = folder / "scores"
    if not path.is_dir():
        return [Text(f"Scores: {NOT_RUN}.")]
    try:
        summary, scores = summary_of(str(path)), read_scores(str(path))
    except UserError as error:
        state = NOT_RUN if record is None else "missing or not finished"
        return [Text(f"Scores: {state}. {error}")]
    blocks: list[Block] = [Text(f"{headline(summary)}.")]
    if not summary.quantiles:
        return [*blocks, bad_table(summary.bad)]
    blocks += draw_scores(folder, scores, target)
    headers = ["images below", *(f"{share:.0%}" for share in summary.quantiles)]
    rows = [["score", *(f"{score:.4f}" for score in summary.quantiles.values())]]
    blocks.append(Table("Quantiles of the scores", headers, rows))
    return [*blocks, bad_table(summary.bad)] if summary.bad else blocks


def selection_text(folder: Path, record: Record | None) -> str:
    """How many images were kept, and the score of the last of them."""
    if record is None or not record.done or "kept" not in record.sizes:
        return f"Selection: {NOT_RUN if record is None else 'not finished'}."
    kept, images = record.sizes["kept"], record.sizes.get("images")
    text = f"{kept:,}" + (f" of {images:,}" if images is not None else "") + " images were kept"
    try:
        values = read_scores(str(folder / "scores")).values
    except UserError:
        return text + "; their scores are missing."
    best = np.sort(values[~np.isnan(values)])[::-1][:kept]
    return text + (f", down to a score of {best[-1]:.4f}." if len(best) else ".")


def _commands(records: Mapping[str, Record]) -> list[Block]:
    return [
        Code(name, "\n".join(shlex.join(map(str, words)) for words in record.commands))
        for name, record in records.items()
    ]


def _settings(record: Record) -> Code:
    lines = [f"{key}: {json.dumps(value)}" for key, value in record.settings.items()]
    return Code(f"Settings of {record.stage}", "\n".join(lines), folded=True)
