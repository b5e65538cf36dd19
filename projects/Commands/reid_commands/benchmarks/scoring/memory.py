"""Memory of scoring many images, each number of them in a process of its own.

python tools/benchmarks/scoring.py memory --rows 10000 100000 1000000

One small JPEG, over and over, goes through a network of one layer; peaks are what
Linux says.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
from collections.abc import Iterator

import torch
from cfs.images.keys import key_list
from cfs.scoring import scoring
from cfs.scoring.models import FeatureModel
from cfs.scoring.options import ScoringOptions
from fastreid.data.build import build_transforms
from reid_core.config import load_config
from torch import nn

from ..harness import PEAK, Row, Sample, alternate, benchmark, timed
from ..processes import HIGHEST, in_children, memory
from ..synthetic import Drawn, jpegs

SIZE = (16, 8)
WORKERS = 2


def measure(rows: int) -> Sample:
    """Score ``rows`` images; in a fresh process."""
    torch.manual_seed(0)
    source, target = (
        FeatureModel(nn.Conv2d(3, 8, 8, stride=8), nn.Identity(), [0.0] * 3, [1.0] * 3).eval()
        for _ in range(2)
    )
    transform = build_transforms(load_config("", ["INPUT.SIZE_TEST", SIZE]), is_train=False)
    run = ScoringOptions(num_workers=WORKERS)
    few, images = (Drawn(count, jpegs(SIZE, 1)) for count in (1000, rows))
    listing = key_list(images).nbytes / 2**20
    with tempfile.TemporaryDirectory() as folder:
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


def rows(args: argparse.Namespace) -> Iterator[Row]:
    """Each number of images; the first is the baseline."""
    return alternate(in_children(measure, {f"{n:,}": (n,) for n in args.rows}), key=PEAK).rows()


main, parser = benchmark(__doc__, rows, rows=[10_000, 100_000, 1_000_000])
