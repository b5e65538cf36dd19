"""Tables of a pipeline's report: stages, results, images without a score, versions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from reid_common.errors import UserError
from reid_common.report_pages import Table

from ..records import Record, in_words

NOT_RUN = "not run"
MEASURES = ("mAP", "Rank-1")
RESULTS = "evaluate/results.json"


def stage_table(records: Mapping[str, Record | None]) -> Table:
    """A row a stage."""
    headers = ["stage", "what", "status", "worked on", "time", "attempts", "machine"]
    rows = [[name, *_cells(record)] for name, record in records.items()]
    return Table("Stages, in order; time is h:mm:ss of all attempts together", headers, rows)


def _cells(record: Record | None) -> list[str]:
    if record is None:
        return ["", NOT_RUN, "", "", "", ""]
    state = "done" if record.done else f"{record.status}, not finished"
    time = str(timedelta(seconds=round(record.seconds)))
    sizes = in_words(record.sizes)
    return [record.title, state, sizes, time, str(record.attempts), record.machine]


def progress(records: Mapping[str, Record | None]) -> str:
    """How many stages are done, and what they took."""
    started = [record for record in records.values() if record is not None]
    seconds = round(sum(record.seconds for record in started))
    done = sum(record.done for record in started)
    return f"{done} of {len(records)} stages are done; {timedelta(seconds=seconds)} in all."


def read_results(folder: Path, records: Mapping[str, Record]) -> list[dict[str, Any]]:
    """Rows of all evaluations that are done: model, title, dataset, variant and measures."""
    named = {record.outputs.get("results"): record.done for record in records.values()}
    rows: list[dict[str, Any]] = []
    for name, done in {RESULTS: True, **named}.items():
        if not name or not done or not (folder / name).is_file():
            continue
        path = folder / name
        try:
            for row in json.loads(path.read_text()):
                rows.append({**row, "model": str(row["model"]), "dataset": str(row["dataset"])})
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise UserError(
                f"{str(path)!r} holds no results ({type(error).__name__}: {error}); delete it "
                "together with the record of its stage, and run that again"
            ) from error
    return rows


def results_table(results: Sequence[Mapping[str, Any]]) -> Table:
    """A row a model, a pair of columns a data set and variant; in percent."""
    titles: dict[str, str] = {}
    metrics: dict[tuple[str, str], dict[str, Mapping[str, Any]]] = {}
    for row in results:
        model, tested = row["model"], (row["dataset"], str(row.get("variant") or ""))
        titles[model] = str(row.get("title") or titles.get(model, model))
        metrics.setdefault(tested, {})[model] = row
    headers = ["model"]
    for dataset, variant in metrics:
        headers += [f"{dataset}{f', {variant}' if variant else ''}: {m}" for m in MEASURES]
    rows = [
        [title, *(_percent(of.get(model, {}), m) for of in metrics.values() for m in MEASURES)]
        for model, title in titles.items()
    ]
    return Table("mAP and Rank-1 in percent", headers, rows)


def _percent(row: Mapping[str, Any], measure: str) -> str:
    value = row.get(measure)
    return f"{value:.1f}" if isinstance(value, (int, float)) else NOT_RUN


def bad_table(bad: Mapping[str, int]) -> Table:
    """Why images have no score."""
    rows = [[reason, f"{count:,}"] for reason, count in bad.items()]
    return Table("Images without a score, by reason", ["reason", "images"], rows)


def versions_table(records: Mapping[str, Record]) -> Table:
    """Versions, a column for the stages that have the same ones."""
    groups: dict[str, list[Record]] = {}
    for record in records.values():
        groups.setdefault(json.dumps(record.versions, sort_keys=True), []).append(record)
    packages = dict.fromkeys(name for record in records.values() for name in record.versions)
    columns = {", ".join(r.stage for r in group): group[0].versions for group in groups.values()}
    headers = ["", "all stages that were run"] if len(columns) == 1 else ["", *columns]
    rows = [[name, *(str(of.get(name, "")) for of in columns.values())] for name in packages]
    return Table("Versions the stages were run with", headers, rows)
