"""Speed of scoring, and its stages, with two models of random weights.

python tools/benchmarks/scoring.py speed

Synthetic JPEGs become shards of scores. Stages are CPU time of one thread, so that other programs
on the machine matter little; models alternate round by round, and medians are shown.
"""

from __future__ import annotations

import argparse
import functools
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import torch
from cfs.scores.shards import ScoreShards
from cfs.scoring import scoring
from cfs.scoring.models import FeatureModel
from cfs.scoring.options import ScoringOptions
from fastreid.config import CfgNode
from fastreid.data.build import build_transforms
from fastreid.modeling.backbones import build_backbone
from fastreid_compat.repairs.distributed.launch import num_cores
from reid_core.config import load_config
from torch import nn

from ..harness import WALL, Row, Sample, alternate, benchmark, timed
from ..models import SIZE, vit_config
from ..synthetic import LUPERSON, Drawn, jpegs

RESNET: list[Any] = ["MODEL.BACKBONE.DEPTH", "50x", "MODEL.BACKBONE.PRETRAIN", False]
MODELS: dict[str, Callable[[], CfgNode]] = {
    "ViT-S/16": lambda: vit_config("ViT-S/16", SIZE),
    "ResNet-50": lambda: load_config("", [*RESNET, "INPUT.SIZE_TEST", SIZE]),
}
TOTAL = "sum, ms"


def pair_of(cfg: CfgNode) -> tuple[FeatureModel, FeatureModel]:
    """Two models of random weights."""
    torch.manual_seed(0)
    means, stds = cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD
    one, two = (
        FeatureModel(build_backbone(cfg), nn.AdaptiveAvgPool2d(1), means, stds).eval()
        for _ in range(2)
    )
    return one, two


def counted(seconds: dict[str, float], stage: str, function: Callable) -> Callable:
    """``function``, whose CPU time, in the thread that runs it, is added to a stage's seconds."""

    def call(*args: Any, **kwargs: Any) -> Any:
        start = time.thread_time()
        try:
            return function(*args, **kwargs)
        finally:
            seconds[stage] += time.thread_time() - start

    return call


def stages_of_a_run(
    models: tuple[FeatureModel, FeatureModel], cfg: CfgNode, args: argparse.Namespace
) -> Sample:
    """Score ``args.images`` images once; milliseconds an image of the stages and of all together.

    "images/s, all threads" is by the clock on the wall.
    """
    stages = dict.fromkeys(("decode", "transform", "models", "write"), 0.0)
    count = functools.partial(counted, stages)
    images = Drawn(args.images, jpegs(SIZE, 64))
    transform = count("transform", build_transforms(cfg, is_train=False))
    run = ScoringOptions(batch_size=32, shard_size=args.images)
    with (
        mock.patch.object(images, "read", count("decode", images.read)),
        mock.patch.object(scoring, "score_batch", count("models", scoring.score_batch)),
        mock.patch.object(ScoreShards, "write", count("write", ScoreShards.write)),
        tempfile.TemporaryDirectory() as folder,
    ):
        seconds = timed(lambda: scoring.score_images(images, *models, transform, folder, run))()
    per_image = {f"{key}, ms": 1000 * s / args.images for key, s in stages.items()}
    total = sum(per_image.values())
    rates = {
        "images/s of a core": 1000 / total,
        "images/s, all threads": args.images / seconds[WALL],
    }
    return {**per_image, TOTAL: total, **rates}


def rows(args: argparse.Namespace) -> Iterator[Row]:
    """The stages of each model; prints what LUPerson costs."""
    torch.set_num_threads(args.threads)
    contenders = {}
    for name in args.models:
        cfg = MODELS[name]()
        contenders[name] = functools.partial(stages_of_a_run, pair_of(cfg), cfg, args)
        contenders[name]()  # warms up
    for row in alternate(contenders, args.rounds, key=TOTAL).rows():
        yield row
        hours = LUPERSON * float(row[TOTAL]) / 1000 / 3600
        print(
            f"{row['contender']}: LUPerson {LUPERSON:,} images x {row[TOTAL]:.2f} ms = "
            f"{hours:,.0f} core hours, {hours / 64:.1f} hours on 64 cores",
            file=sys.stderr,
        )


main, parser = benchmark(__doc__, rows, models=MODELS, images=128, rounds=5, threads=num_cores())
