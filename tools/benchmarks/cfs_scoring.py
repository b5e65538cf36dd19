"""tools/benchmarks/scoring.py speed: the stages of scoring."""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from cfs.scores.shards import ScoreShards
from cfs.scoring import scoring
from cfs.scoring.models import FeatureModel
from cfs.scoring.options import ScoringOptions
from dino_views import jpegs
from dinopretrain.data.images import UnlabelledImages
from fastreid.config import CfgNode
from fastreid.data.build import build_transforms
from fastreid.modeling.backbones import build_backbone
from reid_core.config import load_config
from torch import nn

LUPERSON = 4_180_243
MODELS = {
    "ViT-S/16": {
        "MODEL.BACKBONE.NAME": "build_transreid_backbone",
        "MODEL.BACKBONE.TIMM_NAME": "vit_small_patch16_224",
        "MODEL.BACKBONE.FEAT_DIM": 384,
        "MODEL.BACKBONE.STRIDE_SIZE": [16, 16],
        "INPUT.TRANSFORM": "TransReID",
    },
    "ResNet-50": {"MODEL.BACKBONE.DEPTH": "50x"},
}
STAGES = ("decode", "transform", "models", "write")


class Drawn(UnlabelledImages):
    """Images that are made when they are asked for: JPEGs, or pixels.

    Args:
        count: N.
        size: (H, W) in pixels.
        num_jpegs: different JPEGs; 0: pixels by the number of the image, nothing to decode.
    """

    def __init__(self, count: int, size: tuple[int, int], num_jpegs: int = 0) -> None:
        self.count, self.size = count, size
        self.jpegs = jpegs(size, num_jpegs)

    def __len__(self) -> int:
        return self.count

    def name(self, index: int) -> str:
        """As long as LUPerson's."""
        return f"{index // 1000:05d}_video_{index * 2654435761 % 2**32:08x}/frame_{index:07d}.jpg"

    def stamp(self, index: int) -> tuple[int, int]:
        """Always the same."""
        return 0, 0

    def content(self, index: int) -> bytes:
        """One of the JPEGs."""
        return self.jpegs[index % len(self.jpegs)]

    def read(self, index: int) -> np.ndarray:
        """Decode, or draw."""
        if self.jpegs:
            return super().read(index)
        pixels = np.arange(3, dtype=np.uint32) * 97 + index * 31
        return np.broadcast_to((pixels % 256).astype(np.uint8), (*self.size, 3)).copy()


def config(keys: dict[str, Any], size: tuple[int, int]) -> CfgNode:
    """Config of a model of random weights."""
    both = {"MODEL.BACKBONE.PRETRAIN": False, "INPUT.SIZE_TRAIN": size, "INPUT.SIZE_TEST": size}
    return load_config("", [x for pair in {**keys, **both}.items() for x in pair])


def pair_of(cfg: CfgNode) -> tuple[FeatureModel, FeatureModel]:
    """Two models of random weights."""
    torch.manual_seed(0)
    means, stds = cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD
    one, two = (
        FeatureModel(build_backbone(cfg), nn.AdaptiveAvgPool2d(1), means, stds).eval()
        for _ in range(2)
    )
    return one, two


class Stages:
    """CPU time of functions, each in the thread that runs it."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(STAGES, 0.0)

    def timed(self, stage: str, function: Callable) -> Callable:
        """``function``, whose time is added to ``stage``."""

        def call(*args: Any, **kwargs: Any) -> Any:
            start = time.thread_time()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds[stage] += time.thread_time() - start

        return call


def timed_run(
    name: str, models: tuple[FeatureModel, FeatureModel], cfg: CfgNode, args: argparse.Namespace
) -> dict[str, float]:
    """Score ``args.images`` images once; seconds of the stages, and "wall"."""
    stages = Stages()
    images = Drawn(args.images, tuple(args.jpeg), num_jpegs=64)
    images.read = stages.timed("decode", images.read)  # type: ignore[method-assign]
    transform = stages.timed("transform", build_transforms(cfg, is_train=False))
    score_batch, write = scoring.score_batch, ScoreShards.write
    scoring.score_batch = stages.timed("models", score_batch)
    timed_write = stages.timed("write", write)
    ScoreShards.write = (  # type: ignore[method-assign]
        lambda self, *rest: timed_write(self, *rest)
    )
    run = ScoringOptions(
        batch_size=args.batch_size, shard_size=args.images, precision=args.precision
    )
    try:
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            scoring.score_images(images, *models, transform, folder, run)
            wall = time.perf_counter() - start
    finally:
        scoring.score_batch = score_batch
        ScoreShards.write = write  # type: ignore[method-assign]
    return {**stages.seconds, "wall": wall}


def speed(args: argparse.Namespace) -> None:
    """Print the table of stages, and what LUPerson costs."""
    torch.set_num_threads(args.threads)
    size = (256, 128)
    cfgs = {name: config(keys, size) for name, keys in MODELS.items() if name in args.models}
    pairs = {name: pair_of(cfg) for name, cfg in cfgs.items()}
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in cfgs}
    for number in range(args.rounds + 1):
        for name, cfg in cfgs.items():
            seconds = timed_run(name, pairs[name], cfg, args)
            if number:  # the first warms up
                runs[name].append(seconds)
    print(
        f"\ntorch {torch.__version__}, {args.threads} thread(s), {args.precision}, synthetic JPEGs "
        f"of {args.jpeg[1]}x{args.jpeg[0]}, models of 256x128, {args.images} images a round, "
        f"{args.rounds} rounds, batches of {args.batch_size}\n"
    )
    print("| two models | " + " | ".join(f"{stage}, ms" for stage in STAGES), end=" | ")
    print("sum, ms | images/s per core | round by round | with this machine's threads |")
    print("|---" * (len(STAGES) + 5) + "|")
    for name, rows in runs.items():
        per_image = {
            stage: statistics.median(row[stage] for row in rows) / args.images for stage in STAGES
        }
        sums = [sum(row[stage] for stage in STAGES) / args.images for row in rows]
        cost = statistics.median(sums)
        wall = args.images / statistics.median(row["wall"] for row in rows)
        cells = " | ".join(f"{1000 * per_image[stage]:.3f}" for stage in STAGES)
        spread = f"{1 / max(sums):.1f}-{1 / min(sums):.1f}"
        print(f"| {name} | {cells} | {1000 * cost:.2f} | {1 / cost:.1f} | {spread} | {wall:.1f} |")
        hours = LUPERSON * cost / 3600
        print(
            f"{name}: LUPerson {LUPERSON:,} images x {1000 * cost:.2f} ms = {hours:,.0f} core "
            f"hours, {hours / 64:.1f} hours on 64 cores",
            file=sys.stderr,
        )
