"""What a run shows of itself: the curve of loss and mAP, query rows with their gallery, chance."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import fastreid_compat  # noqa: F401  (first: makes fastreid importable)
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from fastreid.config import CfgNode
from fastreid.engine import DefaultTrainer
from PIL import Image

GREEN, RED = "#2a9d3a", "#d62828"


@dataclass
class TestSet:
    """Test features and labels; the first ``num_query`` rows are the queries.

    Attributes:
        features: (N, D), L2-normalised.
        pids: (N,) identities.
        camids: (N,) cameras.
        paths: N image files.
        num_query: number of queries.
    """

    features: torch.Tensor
    pids: np.ndarray
    camids: np.ndarray
    paths: list[str]
    num_query: int

    def kept(self, query: int) -> np.ndarray:
        """Gallery rows that count for a query: all but its identity under its own camera."""
        gallery = np.arange(self.num_query, len(self.pids))
        same = (self.pids[gallery] == self.pids[query]) & (
            self.camids[gallery] == self.camids[query]
        )
        return gallery[~same]


@torch.no_grad()
def extract(cfg: CfgNode, model: torch.nn.Module, dataset: str) -> TestSet:
    """Run the model over query and gallery of a registered data set."""
    loader, num_query = DefaultTrainer.build_test_loader(cfg, dataset)
    model.eval()
    features, pids, camids, paths = [], [], [], []
    for batch in loader:
        features.append(F.normalize(model(batch).float().cpu()))
        pids.append(batch["targets"].cpu().numpy())
        camids.append(batch["camids"].cpu().numpy())
        paths.extend(batch["img_paths"])
    return TestSet(
        torch.cat(features), np.concatenate(pids), np.concatenate(camids), paths, num_query
    )


def chance(test: TestSet) -> dict[str, float]:
    """Expected mAP and Rank-1, in percent, of a random ranking.

    With R true matches among N kept gallery images,
    E[AP] = (H_N + (N - H_N) (R - 1) / (N - 1)) / N, where H_N is the N-th harmonic number, and
    P(first is right) = R / N.
    """
    average_precision, first = [], []
    for query in range(test.num_query):
        kept = test.kept(query)
        matches, size = int((test.pids[kept] == test.pids[query]).sum()), len(kept)
        if matches:
            harmonic = float((1.0 / np.arange(1, size + 1)).sum())
            rest = (size - harmonic) * (matches - 1) / max(size - 1, 1)
            average_precision.append((harmonic + rest) / size)
            first.append(matches / size)
    return {
        "mAP": 100 * float(np.mean(average_precision)),
        "Rank-1": 100 * float(np.mean(first)),
    }


def draw_curve(metrics_file: Path, out: Path, title: str) -> None:
    """Draw training loss and test mAP over the iterations of a metrics.json."""
    rows = [json.loads(line) for line in metrics_file.read_text().splitlines()]
    # A resumed run repeats iterations: the last row of each counts.
    loss = sorted({r["iteration"]: r["total_loss"] for r in rows if "total_loss" in r}.items())
    scores = sorted({r["iteration"]: r["mAP"] for r in rows if "mAP" in r}.items())
    figure, left = plt.subplots(figsize=(7, 4), dpi=110)
    right = left.twinx()
    left.plot(*zip(*loss, strict=True), color="#555555", label="total loss")
    right.plot(*zip(*scores, strict=True), color=GREEN, marker="o", label="mAP")
    left.set(xlabel="iteration", ylabel="total loss (training)", title=title)
    right.set_ylabel("mAP, % (test)", color=GREEN)
    right.set_ylim(bottom=0)
    _save(figure, out)


def draw_ranks(test: TestSet, out: Path, title: str, num_rows: int = 8, top: int = 10) -> None:
    """Draw query rows with their nearest gallery images, framed green (right) or red (wrong).

    Args:
        test: features and labels.
        out: PNG file.
        title: text on top.
        num_rows: queries, spread evenly over the query set.
        top: gallery images a row.
    """
    queries = np.linspace(0, test.num_query - 1, num_rows).round().astype(int)
    figure, axes = plt.subplots(num_rows, top + 1, figsize=(top + 1, 2 * num_rows), dpi=70)
    for axis in axes.flat:
        axis.set_axis_off()
    for row, query in zip(axes, queries, strict=True):
        kept = test.kept(query)
        similarity = (test.features[kept] @ test.features[query]).numpy()
        nearest = kept[np.argsort(-similarity, kind="stable")[:top]]
        caption = f"query {test.pids[query]}\ncam {test.camids[query] + 1}"
        _show(row[0], test.paths[query], caption, "#1d3557")
        for axis, index in zip(row[1:], nearest, strict=False):
            right = test.pids[index] == test.pids[query]
            caption = f"{test.pids[index]}\ncam {test.camids[index] + 1}"
            _show(axis, test.paths[index], caption, GREEN if right else RED)
    figure.suptitle(title, fontsize=12)
    figure.tight_layout(rect=(0, 0, 1, 0.98))
    _save(figure, out)


def _show(axis: plt.Axes, path: str, caption: str, colour: str) -> None:
    with Image.open(path) as image:
        axis.imshow(image.convert("RGB").resize((64, 128)))
    axis.set_axis_on()
    axis.set(xticks=[], yticks=[])
    axis.set_title(caption, fontsize=7, color=colour)
    for spine in axis.spines.values():
        spine.set(edgecolor=colour, linewidth=3)


def _save(figure: plt.Figure, out: Path) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{out.name}.part")
    figure.savefig(temporary, format="png", bbox_inches="tight")
    plt.close(figure)
    os.replace(temporary, out)


def write_json(path: Path, content: object) -> None:
    """Write JSON under a temporary name, then rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_text(json.dumps(content, indent=2) + "\n")
    os.replace(temporary, path)
