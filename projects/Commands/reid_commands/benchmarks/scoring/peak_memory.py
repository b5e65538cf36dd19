"""Memory of scoring by the number of images."""

from __future__ import annotations

import argparse
import functools
import resource
import tempfile

import torch
from cfs.filters.names import key_list
from cfs.scoring import scoring
from cfs.scoring.models import FeatureModel
from cfs.scoring.run import Run
from fastreid.data.build import build_transforms
from torch import nn

from ..harness import PEAK, Sample, alternate, print_table, timed
from ..processes import HIGHEST, in_child, memory
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
    run = Run(num_workers=WORKERS)
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
