"""Curves of trainings: loss, learning rate and test scores, from FastReID's metrics.json."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from . import pictures
from .errors import UserError
from .pictures import plt

MEASURES = {"mAP": "-", "Rank-1": ":"}  # what curves show of the tests, and its line style
MARKERS = "osv^D*"  # of the test sets


def read_metrics(run: Path) -> list[dict[str, float]]:
    """Rows of the metrics.json of a run, a file or its folder, one an iteration, in order.

    A resumed run repeats iterations: of each, the last value of every measure counts.

    Raises:
        UserError: no such file, or nothing in it.
    """
    path = run / "metrics.json" if run.is_dir() else run
    if not path.is_file():
        raise UserError(
            f"there is no {str(path)!r}; name the OUTPUT_DIR of a run that has trained for an epoch"
        )
    rows: dict[int, dict[str, float]] = {}
    for line in path.read_text().splitlines():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue  # the run was killed, or is just now, in the middle of a line
        if isinstance(row, dict) and "iteration" in row:
            rows.setdefault(int(row["iteration"]), {}).update(row)
    if not rows:
        raise UserError(f"{str(path)!r} has no measurements yet; wait for the first epoch")
    return [rows[iteration] for iteration in sorted(rows)]


def draw_curves(runs: dict[str, Path], out: Path, title: str) -> None:
    """Draw training loss, learning rate and test scores over the iterations, one colour a run.

    Raises:
        UserError: a run has no metrics.json.
    """
    metrics = {name: read_metrics(path) for name, path in runs.items()}
    figure, (loss, rate, score) = plt.subplots(1, 3, figsize=(15, 4.2), dpi=90, layout="tight")
    styles: dict[str, dict[str, Any]] = {}
    for number, (name, rows) in enumerate(metrics.items()):
        colour = f"C{number % 10}"
        loss.plot(*_series(rows, "total_loss"), color=colour, label=name)
        rate.plot(*_series(rows, "lr"), color=colour)
        for key, style in _score_styles(rows).items():
            score.plot(*_series(rows, key), color=colour, **style)
            styles[key] = style
    loss.set(title="training loss", xlabel="iteration", ylabel="total loss")
    rate.set(title="learning rate", xlabel="iteration")
    score.set(title="test", xlabel="iteration", ylabel="%")
    for axis in (loss, rate, score):
        axis.grid(alpha=0.3)
    for axis in (rate, score):
        axis.set_ylim(bottom=0)
    loss.legend(fontsize=8)
    if styles:
        lines = [plt.Line2D([], [], color="black", **style) for style in styles.values()]
        score.legend(lines, list(styles), fontsize=8)
    else:
        score.text(0.5, 0.5, "no test yet", ha="center", transform=score.transAxes)
    figure.suptitle(title)
    pictures.save_figure(figure, out)


def _score_styles(rows: list[dict[str, float]]) -> dict[str, dict[str, Any]]:
    """Line style of each test score; "Market1501/mAP" where a run tests on several sets."""
    keys = sorted({key for row in rows for key in row if key.rpartition("/")[2] in MEASURES})
    sets = sorted({key.rpartition("/")[0] for key in keys})
    styles = {}
    for key in keys:
        name, _, measure = key.rpartition("/")
        marker = MARKERS[sets.index(name) % len(MARKERS)]
        styles[key] = {"linestyle": MEASURES[measure], "marker": marker, "markersize": 4}
    return styles


def _series(rows: list[dict[str, float]], key: str) -> tuple[list[int], list[float]]:
    """Iterations and values of one measure, without gaps and infinities."""
    shown = [row for row in rows if math.isfinite(row.get(key, math.nan))]
    return [int(row["iteration"]) for row in shown], [row[key] for row in shown]
