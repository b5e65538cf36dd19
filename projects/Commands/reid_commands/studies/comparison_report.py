"""The report of compared models: a table, paired tests, and accuracy against speed."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fasteval.analysis.analyse import MEASURES
from fasteval.analysis.comparison import Compared, compare_evaluations
from fasteval.report.evaluating import Settings
from fasteval.report.tables import SURE, Evaluated, as_json
from reid_common.files import replacing, write_json
from reid_common.pictures import plt, save_figure
from reid_common.report_pages import Block, Picture, Report, Section, Table, Text, to_markdown

from .compared_models import Cost

REPORT, NUMBERS, PICTURE = "comparison.md", "comparison.json", "accuracy_speed.png"
NOT_RUN = "not run"
Pair = tuple[str, str]


@dataclass(frozen=True)
class ModelComparison:
    """Models on one test set.

    Attributes:
        dataset: its name.
        found: evaluations by the model's name.
        costs: speed and size, likewise.
        pairs: (first, second) -> what the second is to the first.
        machine: what the speed was measured with.
        batch: images of a batch.
    """

    dataset: str
    found: Mapping[str, Evaluated]
    costs: Mapping[str, Cost]
    pairs: Mapping[Pair, Compared]
    machine: str
    batch: int

    def write(self, out: Path) -> str:
        """Write report, numbers and picture into a folder; returns the report's text."""
        measured = all(cost.images_per_second for cost in self.costs.values())
        if measured:
            self._draw(out / PICTURE)
        text = to_markdown(self._report(out / PICTURE if measured else None), out)
        with replacing(out / REPORT) as temporary:
            temporary.write_text(text, encoding="utf-8")
        write_json(out / NUMBERS, self.numbers())
        return text

    def numbers(self) -> dict[str, Any]:
        """All of it, as JSON can hold it."""
        return {
            "dataset": self.dataset,
            "results": as_json([*self.found.values()], {})["results"],
            "costs": {name: asdict(cost) for name, cost in self.costs.items()},
            "pairs": [
                {"first": first, "second": second}
                | {measure: asdict(one) for measure, one in compared.measures.items()}
                for (first, second), compared in self.pairs.items()
            ],
            "machine": self.machine,
            "batch_size": self.batch,
        }

    def table(self) -> Table:
        """A row for each model."""
        headers = ["model", *(f"{measure}, %" for measure in MEASURES)]
        headers += ["images/s", "parameters, million", "MiB", "features"]
        rows = [[name, *self._scores(name), *_cells(self.costs[name])] for name in self.found]
        return Table("With 95 % intervals over identities", headers, rows)

    def _scores(self, name: str) -> list[str]:
        intervals = (self.found[name].intervals[measure]["identity"] for measure in MEASURES)
        return [f"{one.mean:.1f} ({one.low:.1f} to {one.high:.1f})" for one in intervals]

    def differences(self) -> Table:
        """A row for each pair."""
        rows = []
        for (first, second), compared in self.pairs.items():
            row = [f"{second} less {first}"]
            for measure in MEASURES:
                one = compared.measures[measure]
                gain = one.difference.percent()
                row.append(f"{gain.mean:+.1f} ({gain.low:+.1f} to {gain.high:+.1f})")
                row.append(f"{one.p_value:.4f}")
            rows.append(row)
        headers = [cell for measure in MEASURES for cell in (measure, f"p of {measure}")]
        return Table("Points, with 95 % intervals over identities", ["pair", *headers], rows)

    def _report(self, picture: Path | None) -> Report:
        one = next(iter(self.found.values())).analysis
        queries = one.results.num_query
        lead = (
            f"{self.dataset}: {queries} queries, {len(one.results) - queries} gallery images, "
            f"{len(one.identities.pids)} identities."
        )
        blocks: list[Block] = [self.table(), Text(self._how_fast())]
        if picture is not None:
            caption = "Up and to the right is better; bars are the intervals."
            blocks.append(Picture(picture, "mAP over images per second of each model", caption))
        sections = [Section("Models", blocks)]
        if self.pairs:
            sections.append(Section("Differences", [self.differences(), Text(self._how_sure())]))
        return Report(f"Models on {self.dataset}", [lead], sections)

    def _how_fast(self) -> str:
        return (
            f"images/s: from pixels in memory to features, batches of {self.batch}, the models in "
            f"turns; {self.machine}. Another machine gives other numbers."
        )

    def _how_sure(self) -> str:
        count = len(self.pairs)
        return (
            "p: sign-flip permutation test over identities, query by query, two-sided. With "
            f"{count} pair(s) a p below {SURE / count:.4f} ({SURE} by {count}) is more than the "
            "choice of queries explains. Another training run with another seed is not in it."
        )

    def _draw(self, out: Path) -> None:
        figure, axis = plt.subplots(figsize=(6.5, 4.5), dpi=110, layout="constrained")
        for name, one in self.found.items():
            interval = one.intervals["mAP"]["identity"]
            speed = self.costs[name].images_per_second or math.nan
            bars = [[interval.mean - interval.low], [interval.high - interval.mean]]
            axis.errorbar([speed], [interval.mean], bars, fmt="o", capsize=3)
            axis.annotate(name, (speed, interval.mean), (6, 6), textcoords="offset points")
        axis.set(xscale="log", xlabel="images/s", ylabel="mAP, %", title=self.dataset)
        axis.margins(x=0.25)
        for ticks in (axis.xaxis.set_major_formatter, axis.xaxis.set_minor_formatter):
            ticks(plt.FuncFormatter(lambda value, _: f"{value:g}"))
        axis.grid(alpha=0.3, which="both")
        save_figure(figure, out)


def _cells(cost: Cost) -> list[str]:
    speed = cost.images_per_second
    shown = NOT_RUN if speed is None else f"{speed:.3g}" if speed < 100 else f"{speed:.0f}"
    return [shown, f"{cost.parameters / 1e6:.1f}", f"{cost.mib:.1f}", str(cost.feature_dim)]


def compared_pairs(found: Sequence[Evaluated], settings: Settings) -> dict[Pair, Compared]:
    """Paired comparison of every two evaluations, in their order.

    Raises:
        UserError: they are of different test sets.
    """
    draws = (settings.level, settings.resamples, settings.seed)
    return {
        (one.name, other.name): compare_evaluations(one.analysis, other.analysis, *draws)
        for one, other in itertools.combinations(found, 2)
    }
