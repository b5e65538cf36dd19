"""tools/benchmarks/scoring.py memory and select: scores by the million."""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from cfs import select
from cfs.images.keys import key_list
from cfs.scores.lists import write_list
from cfs.scores.reading import read_scores
from cfs.scores.shards import ScoreShards
from cfs.scores.summary import summarise
from cfs.scoring import scoring
from cfs.scoring.models import FeatureModel
from cfs.scoring.options import SHARD_SIZE, ScoringOptions
from cfs_scoring import Drawn, config
from dino_listing import peak, printed_json
from fastreid.data.build import build_transforms
from torch import nn

SCRIPT = Path(__file__).with_name("scoring.py")
WORKERS = 2
MIB = 2**20


def memory(args: argparse.Namespace) -> None:
    """Print the peak of memory for each number of rows."""
    print(
        "| images | s | listing, MiB | before, MiB | peak, MiB | peak - before - listing |", end=""
    )
    print(" worker, peak, MiB |\n" + "|---" * 7 + "|")
    for rows in args.rows:
        command = [sys.executable, str(SCRIPT), "memory", "--measure", "--rows", str(rows)]
        found = printed_json(command)
        rest = found["peak"] - found["before"] - found["listing"]
        print(
            f"| {rows:,} | {found['seconds']:.0f} | {found['listing']:.1f} | {found['before']:.0f} "
            f"| {found['peak']:.0f} | {rest:.0f} | {found['worker']:.0f} |",
            flush=True,
        )


def measure(args: argparse.Namespace) -> None:
    """Score ``args.rows`` images in this process and print what it took as JSON."""
    size = (16, 8)
    cfg = config({}, size)
    images = Drawn(args.rows[0], size)
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 8, 8, stride=8) for _ in range(2))
    models = [FeatureModel(layer, nn.Identity(), [0.0] * 3, [1.0] * 3).eval() for layer in layers]
    transform = build_transforms(cfg, is_train=False)
    listing = key_list(images).nbytes / MIB
    few = Drawn(1000, size)
    run = ScoringOptions(num_workers=WORKERS)
    with tempfile.TemporaryDirectory() as folder:
        scoring.score_images(few, *models, transform, f"{folder}/few", run)  # all is loaded
        before = peak()
        start = time.perf_counter()
        scoring.score_images(images, *models, transform, f"{folder}/all", run)
        seconds = time.perf_counter() - start
    worker = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(
        json.dumps(
            {
                "seconds": seconds,
                "listing": listing,
                "before": before,
                "peak": peak(),
                "worker": worker,
            }
        )
    )


def blocks(count: int, size: int) -> Iterator[tuple[int, list[str]]]:
    """Yield (number, names) of shards; 91 names a folder, as LUPerson has images a scene."""
    for number, start in enumerate(range(0, count, size)):
        numbers = range(start, min(start + size, count))
        yield number, [f"video_{i // 91:08d}/frame_{i:08d}_person_00.jpg" for i in numbers]


def select_many(args: argparse.Namespace) -> None:
    """Print the seconds of reading, summing up and selecting many scores."""
    count, rng = args.rows[0], np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        meta = {"count": count, "shard_size": SHARD_SIZE}
        shards = ScoreShards(Path(folder), meta)
        shards.prepare()
        for number, paths in blocks(count, shards.size):
            values = rng.normal(0.7, 0.1, len(paths)).clip(-1, 1).astype(np.float32)
            shards.write(number, paths, values, [None] * len(paths))
        times = [time.perf_counter()]
        scores = read_scores(folder)
        times.append(time.perf_counter())
        chosen = select(scores.names, scores.values, keep=0.5)
        times.append(time.perf_counter())
        listed = scores.names.take(chosen)
        write_list(Path(folder) / "CFS_list.pkl", listed, scores.values[chosen])
        times.append(time.perf_counter())
        summarise(scores)
        times.append(time.perf_counter())
    read, sort, write, figures = np.diff(times)
    print(
        "| scores | kept | read, s | select, s | write CFS_list.pkl, s | inspect, s | peak, MiB |"
    )
    print("|---" * 7 + "|")
    print(
        f"| {count:,} | {len(chosen):,} | {read:.1f} | {sort:.1f} | {write:.1f} | {figures:.1f} "
        f"| {peak():.0f} |"
    )
