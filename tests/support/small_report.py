"""A finished folder of tools/conditional_pretrain.py: records of no run, but true scores' files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from cfs.pipeline.config import STAGES
from cfs.pipeline.records import Record, write_record
from cfs.scores.shards import ScoreShards
from dinopretrain.data.listing import tree_names

KEPT = 5
VERSIONS = {"torch": "2.9", "python": "3.11", "commit": "abc"}
SIZES = {
    "source": {"images": 4096, "epochs": 18},
    "score": {"images": 11, "bad": 1},
    "select": {"images": 10, "kept": KEPT},
}
RESULTS = [
    {"model": "target", "title": "theta_t", "dataset": "ToyReID", "mAP": 10.04, "Rank-1": 20.0},
    {"model": "finetune", "title": "final", "dataset": "ToyReID", "mAP": 14.26, "Rank-1": 13.1},
    {
        "model": "finetune",
        "title": "final",
        "dataset": "ToyReID",
        "variant": "re-ranking",
        "mAP": 30.0,
    },
]

TABLES = {
    "Stages, in order; time is h:mm:ss of all attempts together",
    "mAP and Rank-1 in percent",
    "Quantiles of the scores",
    "Images without a score, by reason",
    "Versions the stages were run with",
}
# Markup of both forms, quotes, and a mark that turns the direction of writing
HOSTILE = """x<img src=//evil.example/a onerror='injected=1'> & "q" `tick` |pipe| </code></pre> ‮"""


def write_records(folder: Path, *stages: str) -> None:
    """Write records of stages that are done.

    Args:
        folder: of the pipeline.
        *stages: their names; none: all.
    """
    for number, name in enumerate(stages or STAGES):
        tests = {"DATASETS.TESTS": ["ToyReID"]} if name in ("target", "finetune") else {}
        record = Record(
            stage=name,
            title=f"title of {name}",
            status="done",
            commands=[["python", "tools/train_net.py", "OUTPUT_DIR", str(folder / name)]],
            settings={"DATASETS.NAMES": ["ToyUnlabeled"], "SEED": 1, **tests},
            seconds=3725.4,
            attempts=number + 1,
            started=f"2026-11-27T0{number}:11:00+00:00",
            finished=f"2026-11-27T0{number}:59:00+00:00",
            sizes=SIZES.get(name, {}),
            outputs={"results": "evaluate/results.json"} if name == "evaluate" else {},
            machine="cpu, 2 threads",
            versions=VERSIONS,
        )
        write_record(folder, record)


def write_scores(folder: Path, pool: Path) -> np.ndarray:
    """Write scores of the images of ``pool`` in two shards, the first one bad; returns them."""
    names = [name.decode() for name in tree_names(str(pool / "images"))]
    values = np.linspace(0.9, 0.4, len(names)).astype(np.float32)
    values[0] = np.nan
    meta = {"count": len(names), "shard_size": 6, "dataset": [f"ImageFolder:{pool}"]}
    shards = ScoreShards(folder / "scores", meta)
    shards.prepare()
    for number, rows in shards.ranges():
        reasons = ["empty <file>" if np.isnan(values[i]) else None for i in rows]
        shards.write(number, [names[i] for i in rows], values[rows.start : rows.stop], reasons)
    return values


def write_curves(folder: Path) -> None:
    """Write metrics.json of a training of two epochs."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [{"iteration": i, "total_loss": 4.0 - i, "lr": 0.1, "mAP": 1.0 + i} for i in range(2)]
    (folder / "metrics.json").write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_results(folder: Path) -> None:
    """Write what the stage evaluate collects."""
    path = folder / "evaluate" / "results.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(RESULTS))
