"""Speed of scoring, and its stages."""

from __future__ import annotations

import argparse
import functools
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any
from unittest import mock

import numpy as np
import torch
from cfs.scores.shards import ScoreShards
from cfs.scoring import scoring
from cfs.scoring.models import FeatureModel
from cfs.scoring.options import ScoringOptions
from dinopretrain.data.images import UnlabelledImages
from fastreid.config import CfgNode
from fastreid.data.build import build_transforms
from fastreid.modeling.backbones import build_backbone
from reid_core.config import load_config
from torch import nn

from ..harness import WALL, Sample, alternate, print_table, timed
from ..synthetic import LUPERSON, jpegs

MODELS: dict[str, dict[str, Any]] = {
    "ViT-S/16": {
        "MODEL.BACKBONE.NAME": "build_transreid_backbone",
        "MODEL.BACKBONE.TIMM_NAME": "vit_small_patch16_224",
        "MODEL.BACKBONE.FEAT_DIM": 384,
        "MODEL.BACKBONE.STRIDE_SIZE": [16, 16],
        "INPUT.TRANSFORM": "TransReID",
    },
    "ResNet-50": {"MODEL.BACKBONE.DEPTH": "50x"},
}
TOTAL = "sum, ms"


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
    images = Drawn(args.images, tuple(args.jpeg), num_jpegs=64)
    transform = count("transform", build_transforms(cfg, is_train=False))
    run = ScoringOptions(
        batch_size=args.batch_size, shard_size=args.images, precision=args.precision
    )
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


def speed(args: argparse.Namespace) -> None:
    """Print the table of stages, and what LUPerson costs."""
    torch.set_num_threads(args.threads)
    contenders = {}
    for name in args.models:
        cfg = config(MODELS[name], (256, 128))
        contenders[name] = functools.partial(stages_of_a_run, pair_of(cfg), cfg, args)
        contenders[name]()  # warms up
    rows = list(alternate(contenders, args.rounds, key=TOTAL).rows())
    print_table(rows)
    for row in rows:
        hours = LUPERSON * float(row[TOTAL]) / 1000 / 3600
        print(
            f"{row['contender']}: LUPerson {LUPERSON:,} images x {row[TOTAL]:.2f} ms = "
            f"{hours:,.0f} core hours, {hours / 64:.1f} hours on 64 cores",
            file=sys.stderr,
        )
