"""Many images: memory of scoring them, and seconds of selecting from their scores."""

from __future__ import annotations

import argparse
import functools
import resource
import tempfile
from pathlib import Path
from typing import Any

import torch
from cfs import select
from cfs.images.keys import key_list
from cfs.scores.lists import write_list
from cfs.scores.reading import read_scores
from cfs.scores.summary import summarise
from cfs.scoring import scoring
from cfs.scoring.models import FeatureModel
from cfs.scoring.options import ScoringOptions
from fastreid.data.build import build_transforms
from torch import nn

from ..harness import PEAK, Sample, alternate, print_table, timed
from ..processes import HIGHEST, in_child, memory
from ..synthetic import write_scores
from .speed import Drawn, config

WORKERS = 2
MIB = 2**20


def memory_of_scoring(args: argparse.Namespace) -> None:
    """Print the peak of memory for each number of rows; the first is the baseline."""
    contenders = {f"{rows:,}": functools.partial(in_child, measure, rows) for rows in args.rows}
    print_table(alternate(contenders, 1, key=PEAK).rows())


def measure(rows: int) -> Sample:
    """Score ``rows`` images; in a fresh process."""
    size = (16, 8)
    images = Drawn(rows, size)
    torch.manual_seed(0)
    source, target = (
        FeatureModel(nn.Conv2d(3, 8, 8, stride=8), nn.Identity(), [0.0] * 3, [1.0] * 3).eval()
        for _ in range(2)
    )
    transform = build_transforms(config({}, size), is_train=False)
    listing = key_list(images).nbytes / MIB
    run = ScoringOptions(num_workers=WORKERS)
    with tempfile.TemporaryDirectory() as folder:
        few = Drawn(1000, size)
        scoring.score_images(few, source, target, transform, f"{folder}/few", run)  # loads all
        before = memory(HIGHEST)
        out = f"{folder}/all"
        score = timed(lambda: scoring.score_images(images, source, target, transform, out, run))
        sample = score()
    peak = memory(HIGHEST)
    return {
        **sample,
        "listing, MiB": listing,
        "before, MiB": before,
        PEAK: peak,
        "peak - before - listing, MiB": peak - before - listing,
        "worker, peak MiB": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024,
    }


def select_many(args: argparse.Namespace) -> None:
    """Print the seconds of each step; those of reading are the baseline."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        # 91 names a folder, as LUPerson has images a scene
        names = (f"video_{i // 91:08d}/frame_{i:08d}_person_00.jpg" for i in range(args.rows))
        write_scores(Path(folder), names, args.rows)

        def read() -> None:
            found["scores"] = read_scores(folder)

        def choose() -> None:
            scores = found["scores"]
            found["chosen"] = select(scores.names, scores.values, keep=0.5)

        def write() -> None:
            scores, chosen = found["scores"], found["chosen"]
            listed = scores.names.take(chosen)
            write_list(Path(folder) / "CFS_list.pkl", listed, scores.values[chosen])

        steps = {
            "read": timed(read),
            "select": timed(choose),
            "write CFS_list.pkl": timed(write),
            "inspect": timed(lambda: summarise(found["scores"])),
        }
        print_table(alternate(steps, 1, baseline="read").rows())
    peak = memory(HIGHEST)
    print(f"\n{len(found['chosen']):,} of {args.rows:,} kept; peak of memory {peak:,.0f} MiB")
