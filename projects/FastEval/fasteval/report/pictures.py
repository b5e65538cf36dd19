"""Pictures of evaluations: CMC, ROC, pairs of cameras, identities, and what two models differ in.

Scores are percent, 0..100; NaN where there is none. ``out`` is the picture's file, ``title`` the
text on top.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from reid_common.pictures import plt, save_figure

from ..ranking.roc import RocCurve

MAX_CELLS_WITH_NUMBERS = 24  # cameras of a matrix beyond which its numbers cannot be read
COLOURS = "RdYlBu"  # bad is red, good blue: for the colour-blind, too
MAX_INCHES = 14  # of a matrix
NUM_WORST = 20  # identities that are named in a picture
LOWEST_FPR = 1e-6


def draw_cmc(curves: dict[str, np.ndarray], out: Path, title: str) -> None:
    """Draw CMCs: name -> (R,) 0..1, share of queries with a right image within the first 1..R."""
    figure, axis = _axes(size=(6, 4.2))
    for name, curve in curves.items():
        label = f"{name}: Rank-1 {100 * curve[0]:.2f}"
        axis.plot(np.arange(1, len(curve) + 1), 100 * curve, ".-", markersize=4, label=label)
    lowest = min(100 * curve[0] for curve in curves.values())
    axis.set(xlabel="rank", ylabel="queries found, %", title=title)
    axis.set_ylim(min(lowest - 2, 95), 100.5)
    _finish(axis)
    save_figure(figure, out)


def draw_roc(curves: dict[str, RocCurve], out: Path, title: str) -> None:
    """Draw receiver operating characteristics over a logarithmic false positive rate.

    The classes are FastReID's, as in its TPR@FPR: positive = another identity, rejected.
    """
    figure, axis = _axes(size=(6, 4.2))
    for name, curve in curves.items():
        label = f"{name}: {100 * curve.tpr_at(1e-3):.1f} at 0.1 %"
        axis.plot(100 * curve.fpr, 100 * curve.tpr, label=label)
    smallest = min((curve.fpr[curve.fpr > 0].min() for curve in curves.values()), default=1e-4)
    axis.set(
        xscale="log",
        xlim=(100 * max(smallest, LOWEST_FPR), 100),
        ylim=(0, 101),
        xlabel="false positive rate: pairs of one identity that are rejected, %",
        ylabel="true positive rate: other pairs that are rejected, %",
        title=title,
    )
    _finish(axis)
    save_figure(figure, out)


def draw_camera_pairs(
    scores: np.ndarray, queries: list[str], galleries: list[str], out: Path, title: str
) -> None:
    """Draw scores (A, B) of A cameras of queries and B of the gallery; NaN is drawn hatched."""
    longest = max(scores.shape)
    side = min(0.55 * longest, MAX_INCHES)
    figure, axis = _axes(size=(max(side * len(galleries) / longest + 2.2, 4.5), side + 1.4))
    axis.patch.set(facecolor="#eeeeee", hatch="////", edgecolor="#cccccc")
    image = axis.imshow(np.ma.masked_invalid(scores), cmap=COLOURS)  # from the worst to the best
    axis.set_xticks(range(len(galleries)), galleries, rotation="vertical")
    axis.set_yticks(range(len(queries)), queries)
    axis.set(xlabel="camera of the match", ylabel="camera of the query")
    axis.set_title(title, fontsize=10)
    if longest <= MAX_CELLS_WITH_NUMBERS:
        for (row, column), score in np.ndenumerate(scores):
            if np.isfinite(score):
                dark = np.mean(image.to_rgba(score)[:3]) < 0.5
                text = axis.text(column, row, f"{score:.1f}", fontsize=8, ha="center", va="center")
                text.set_color("white" if dark else "black")
    figure.colorbar(image, ax=axis, label="mAP, %", shrink=0.8)
    save_figure(figure, out)


def draw_identities(scores: np.ndarray, names: list[str], out: Path, title: str) -> None:
    """Draw the scores (I,), ascending, of all identities, and the worst of them by name."""
    figure, (every, worst) = _axes(2, (10, 4.4), width_ratios=(3, 2))
    every.fill_between(np.arange(1, len(scores) + 1), scores, step="mid", alpha=0.5)
    every.axhline(scores.mean(), color="black", linewidth=1, linestyle="--")
    every.text(1, scores.mean() + 1, f"mean {scores.mean():.1f}", fontsize=8)
    every.set(xlabel="identities, worst first", ylabel="AP, %", ylim=(0, 105), title=title)
    every.set_xlim(0.5, len(scores) + 0.5)
    lowest, shown = scores[:NUM_WORST], range(len(scores[:NUM_WORST]))
    bars = worst.barh(shown, lowest, color=matplotlib.colormaps[COLOURS](lowest / 100))
    worst.bar_label(bars, fmt="%.1f", fontsize=7, padding=2)
    worst.set_yticks(shown, names[:NUM_WORST], fontsize=8)
    worst.invert_yaxis()
    worst.set(xlabel="AP, %", xlim=(0, 105), title="the worst")
    save_figure(figure, out)


def draw_differences(
    first: np.ndarray, second: np.ndarray, names: tuple[str, str], out: Path, title: str
) -> None:
    """Draw the scores (Q,) of two models against one another, and their differences by query."""
    figure, (pairs, change) = _axes(2, (10, 4.4))
    # Thousands of points are a blot: cells of the plane say how many lie in them.
    cells = pairs.hist2d(first, second, 40, ((0, 100), (0, 100)), norm="log", cmap="viridis")
    pairs.plot((0, 100), (0, 100), color="black", linewidth=0.8, linestyle="--")
    pairs.set(xlabel=f"AP of {names[0]}, %", ylabel=f"AP of {names[1]}, %", aspect="equal")
    figure.colorbar(cells[3], ax=pairs, label="queries", shrink=0.8)
    differences = second - first
    change.hist(differences, bins=np.linspace(-100, 100, 41), color="C0", log=True)
    change.axvline(0, color="black", linewidth=0.8)
    mean = differences.mean()
    change.axvline(mean, color="C3", linestyle="--", label=f"mean {mean:+.2f}")
    change.set(ylabel="queries", xlabel=f"AP of {names[1]} - AP of {names[0]}, percent points")
    change.set_ylim(bottom=0.7)
    _finish(change)
    figure.suptitle(title)
    save_figure(figure, out)


def _axes(number: int = 1, size: tuple[float, float] = (6, 4), **options: Any) -> tuple[Any, Any]:
    return plt.subplots(1, number, figsize=size, dpi=100, layout="constrained", **options)


def _finish(axis: Any) -> None:
    axis.grid(alpha=0.3, which="major")
    axis.legend(fontsize=8)
