"""Tables of evaluations: metrics with their intervals, and what two results differ in."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from fastreid.config import CfgNode
from tabulate import tabulate

from ..analysis.analyse import MEASURES, Analysis
from ..analysis.bootstrap import Interval, confidence_interval
from ..analysis.comparison import Compared
from ..analysis.paired import Comparison
from ..results.meta import describe, settings_of

SURE = 0.05  # p-value from which on a difference may well be chance


@dataclass
class Evaluated:
    """One results file, evaluated.

    Attributes:
        name: under which it is shown.
        saved: metrics of the evaluation that wrote the file if its settings were these, else {}.
        intervals: measure -> "identity" or "query", the unit that is drawn -> interval, percent.
        level: of the intervals, 0..1.
    """

    name: str
    path: str
    cfg: CfgNode
    analysis: Analysis
    saved: dict[str, float]
    intervals: dict[str, dict[str, Interval]]
    level: float


def intervals_of(
    analysis: Analysis, level: float, num_resamples: int, seed: int
) -> dict[str, dict[str, Interval]]:
    """Intervals of all measures, as :class:`Evaluated` has them."""
    counted = analysis.evaluation.ranking.counted
    units = {"identity": analysis.query_pids[counted], "query": None}
    return {
        measure: {
            unit: confidence_interval(
                analysis.values(measure)[counted], clusters, level, num_resamples, seed
            ).percent()
            for unit, clusters in units.items()
        }
        for measure in MEASURES
    }


def metrics_table(one: Evaluated) -> str:
    """Text on one file: what was evaluated, and a table of the metrics, all in percent."""
    analysis, results = one.analysis, one.analysis.results
    ignored = analysis.evaluation.ranking.num_ignored
    metrics = analysis.evaluation.figures()
    queries = f"{results.num_query} queries"
    if ignored:
        queries += f" ({ignored} without a match do not count)"
    head = (
        f"{one.name}: {describe(one.cfg)}; {queries}, {len(results) - results.num_query} gallery "
        f"images, {len(analysis.identities.pids)} identities, "
        f"{len(analysis.cameras.gallery_cameras)} cameras"
    )
    rows = []
    for measure, value in metrics.items():
        scale = 100 if measure.startswith("TPR") else 1  # FastReID has it in 0..1
        spread = [span(interval) for interval in one.intervals.get(measure, {}).values()]
        rows.append([measure, f"{scale * value:.2f}", *spread])
    share = f"{100 * one.level:g} %"
    lines = [head, _table(rows, ["measure", "%", f"{share} by identity", f"{share} by query"])]
    cosines = analysis.cosines
    pairs = {"one identity": cosines.same, "different ones": cosines.different}
    means = [f"{mean:.4f} of {which}" for which, mean in pairs.items() if mean is not None]
    lines.append(f"Mean cosine of two images: {', '.join(means)}")
    changed = [
        f"{measure} {one.saved[measure]:.2f}"
        for measure, value in metrics.items()
        if abs(one.saved.get(measure, value) - value) > 0.005
    ]
    if changed:
        lines.append(f"The evaluation that saved this file had {', '.join(changed)}")
    return "\n".join(lines)


def comparison_table(names: tuple[str, str], compared: Compared, level: float) -> str:
    """Text on the difference of two files, in percent points."""
    rows = [
        [
            measure,
            f"{100 * one.first:.2f}",
            f"{100 * one.second:.2f}",
            f"{100 * one.difference.mean:+.2f}",
            span(one.difference.percent()),
            f"{one.p_value:.4f}",
            f"{one.p_by_query:.4f}",
            f"{one.wilcoxon:.4f}",
            f"{one.better} / {one.worse}",
        ]
        for measure, one in compared.measures.items()
    ]
    headers = ["measure", *names, "difference", f"{100 * level:g} % by identity"]
    headers += ["p by identity", "p by query", "Wilcoxon", "queries better / worse"]
    lines = [
        f"{names[1]} against {names[0]}, {len(compared.first)} queries in common",
        _table(rows, headers),
        *(f"{measure}: {_verdict(one)}" for measure, one in compared.measures.items()),
    ]
    return "\n".join(lines)


def _verdict(one: Comparison) -> str:
    if one.p_value < SURE:
        return f"the difference is more than the choice of queries explains (p {one.p_value:.4f})"
    return (
        f"no difference is shown: of two equal models, {100 * one.p_value:.0f} of 100 test sets "
        "would have one as large"
    )


def span(interval: Interval) -> str:
    """Both ends of an interval."""
    return f"{interval.low:.2f} to {interval.high:.2f}"


def _table(rows: list[list[str]], headers: list[str]) -> str:
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True)


def as_json(ones: list[Evaluated], comparisons: dict[str, Compared]) -> dict[str, Any]:
    """All metrics: scores and intervals in percent but for TPR, comparisons in 0..1."""
    results = {
        one.name: {
            "file": one.path,
            "settings": settings_of(one.cfg),
            "scores": one.analysis.evaluation.figures(),
            "cosines": asdict(one.analysis.cosines),
            "intervals": {
                measure: {how: asdict(interval) for how, interval in found.items()}
                for measure, found in one.intervals.items()
            },
        }
        for one in ones
    }
    against = {
        name: {measure: asdict(one) for measure, one in compared.measures.items()}
        for name, compared in comparisons.items()
    }
    return {"results": results, "compared_with": ones[0].name, "comparisons": against}
