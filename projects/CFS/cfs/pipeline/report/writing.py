"""Report of a pipeline's folder: report.html (one file) and report.md.

It can be written at any time, also when only some stages are done.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
from reid_common.errors import UserError
from reid_common.files import replacing
from reid_common.report_pages import Block, Code, Report, Section, Table, Text, to_html, to_markdown
from reid_core.data.names import split_name

from ...scores.reading import read_scores
from ...scores.summary import headline, summary_of
from ..config import STAGES
from ..records import FOLDER, Record, read_record
from . import tables
from .pictures import draw_scores, draw_training
from .tables import NOT_RUN

NAMES = ("report.html", "report.md")
SYNTHETIC = ("ToyReID", "ToyUnlabeled")
# Stages in whose settings the data sets of the source and of the target stand, and the keys
SOURCE = (("source", "DATASETS.NAMES"), ("score", "DATASETS.NAMES"))
TARGET = (
    ("target", "DATASETS.TESTS"),
    ("target", "DATASETS.NAMES"),
    ("finetune", "DATASETS.TESTS"),
)


def write_report(folder: Path) -> tuple[Path, Path]:
    """Write report.html and report.md into a pipeline's folder, of what is in it; returns both.

    It reads the images of the contact sheets, too, where available. Pictures are in its report/.

    Raises:
        UserError: it is no folder of a pipeline, a file in it is damaged or cannot be written.
    """
    folder = Path(folder)
    report = _content(folder)
    page, text = folder / NAMES[0], folder / NAMES[1]
    for file, written in ((page, to_html(report)), (text, to_markdown(report, folder))):
        with replacing(file) as temporary:
            temporary.write_text(written, encoding="utf-8")
    return page, text


def _content(folder: Path) -> Report:
    """All of the report of a pipeline's OUTPUT_DIR; draws its pictures."""
    names = [path.stem for path in sorted((folder / FOLDER).glob("*.json"))]
    found = {name: record for name in names if (record := read_record(folder, name)) is not None}
    if not found:
        raise UserError(
            f"{str(folder)!r} is no folder of a pipeline: there is no record in its {FOLDER}/; "
            "name the OUTPUT_DIR of tools/conditional_pretrain.py"
        )
    # The seven of a pipeline, None for those not run, then what else there is as it was run
    own = sorted(found.keys() - STAGES, key=lambda name: (found[name].started, name))
    records = {name: found.get(name) for name in (*STAGES, *own)}
    done = {name: record for name, record in records.items() if record is not None}
    results = tables.read_results(folder, done)
    source, target = _names_in(done, SOURCE), _names_in(done, TARGET)
    tests = list(dict.fromkeys(str(row["dataset"]) for row in results))
    title = "Conditional pre-training"
    if source and target:
        title += f": {', '.join(source)} for {', '.join(target)}"
    evaluation = tables.results_table(results) if results else Text(f"Evaluation: {NOT_RUN}.")
    commands = [
        Code(name, "\n".join(map(_shown, record.commands))) for name, record in done.items()
    ]
    settings: list[Block] = []
    for name, record in done.items():
        lines = [f"{key}: {json.dumps(value)}" for key, value in record.settings.items()]
        settings.append(Code(f"Settings of {name}", "\n".join(lines), folded=True))
    sections = [
        Section("Stages", [tables.stage_table(records), Text(tables.progress(records))]),
        Section("Results", [evaluation]),
        Section("Scores", _score_blocks(folder, done.get("score"), target)),
        Section("Selection", [Text(_selection_text(folder, done.get("select")))]),
        Section("Training", draw_training(folder) or [Text(f"Training: {NOT_RUN}.")]),
        Section("Commands", [Text("As they were run, by this environment's python."), *commands]),
        Section("Versions", [tables.versions_table(done)]),
        Section("Settings", settings),
    ]
    return Report(title, [_dates(done), _data_text(source, target, tests)], sections)


def _shown(command: Sequence[object]) -> str:
    """A command as somebody else would type it: python, not where it was on this machine."""
    first, *words = map(str, command)
    python = os.path.basename(first).startswith("python")
    return shlex.join(["python" if python else first, *words])


def _names_in(records: Mapping[str, Record], places: Sequence[tuple[str, str]]) -> list[str]:
    """Names of data sets: what the first of the places holds that holds any."""
    for stage, key in places:
        value = records[stage].settings.get(key) if stage in records else None
        if value:
            return [value] if isinstance(value, str) else [str(name) for name in value]
    return []


def _dates(records: Mapping[str, Record]) -> str:
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


def _data_text(source: Sequence[str], target: Sequence[str], tests: Sequence[str]) -> str:
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
    if summary.quantiles:
        blocks += draw_scores(folder, scores, target)
        headers = ["images below", *(f"{share:.0%}" for share in summary.quantiles)]
        rows = [["score", *(f"{score:.4f}" for score in summary.quantiles.values())]]
        blocks.append(Table("Quantiles of the scores", headers, rows))
    return [*blocks, tables.bad_table(summary.bad)] if summary.bad else blocks


def _selection_text(folder: Path, record: Record | None) -> str:
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
