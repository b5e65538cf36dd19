"""What a run reports: rank lists of queries, and the metrics of a random ranking."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from fastreid.config import CfgNode
from fastreid.engine import DefaultTrainer
from reid_common.files import write_json as write_json
from reid_common.pictures import RankRow, draw_rank_rows

EVALUATION = "evaluation.json"  # metrics of each test set, in OUTPUT_DIR of an evaluation


@dataclass
class TestSet:
    """Test features and labels; the first ``num_query`` rows are the queries."""

    features: torch.Tensor  # (N, D), L2-normalised
    pids: np.ndarray  # (N,)
    camids: np.ndarray  # (N,)
    paths: list[str]
    num_query: int

    def kept(self, query: int) -> np.ndarray:
        """Gallery rows that count for a query: all but its identity under its own camera."""
        gallery = np.arange(self.num_query, len(self.pids))
        other = (self.pids != self.pids[query]) | (self.camids != self.camids[query])
        return gallery[other[gallery]]


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
    labels = np.concatenate(pids), np.concatenate(camids)
    return TestSet(torch.cat(features), *labels, paths, num_query)


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
    return {"mAP": 100 * float(np.mean(average_precision)), "Rank-1": 100 * float(np.mean(first))}


def evenly_spread(count: int, rows: int) -> list[int]:
    """Choose ``rows`` of ``count`` positions, evenly spread; all if there are fewer."""
    return np.unique(np.linspace(0, count - 1, min(rows, count)).round().astype(int)).tolist()


def draw_ranks(test: TestSet, out: Path, title: str, num_rows: int = 8, top: int = 10) -> None:
    """Draw ``num_rows`` queries, evenly spread, with their ``top`` nearest gallery images (PNG)."""
    rows = []
    for query in evenly_spread(test.num_query, num_rows):
        kept = test.kept(query)
        similarity = (test.features[kept] @ test.features[query]).numpy()
        nearest = kept[np.argsort(-similarity, kind="stable")[:top]]
        neighbours: list[tuple[str, str, bool | None]] = [
            (test.paths[index], _caption(test, index), bool(test.pids[index] == test.pids[query]))
            for index in nearest
        ]
        rows.append(RankRow(test.paths[query], f"query {_caption(test, query)}", neighbours))
    draw_rank_rows(rows, out, title, top)


def _caption(test: TestSet, index: int) -> str:
    return f"{test.pids[index]}\ncam {test.camids[index] + 1}"
