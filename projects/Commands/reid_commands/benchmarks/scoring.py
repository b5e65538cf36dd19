"""Scoring: images/s, memory, and seconds of reading and selecting from LUPerson's number of scores.

python tools/benchmarks/scoring.py --parts speed --threads 1
python tools/benchmarks/scoring.py --parts memory select

speed: two models of random weights turn JPEGs into shards of scores; by CPU time, which other
programs disturb little and with one thread is that of one core. memory: one small JPEG over and
over goes through a network of one layer; peaks are beyond imports and a first run of 1,000 images.
select: each step on random scores, with the peak until then.
"""

from __future__ import annotations

import argparse
import functools
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from cfs import select
from cfs.scores.lists import write_list
from cfs.scores.reading import read_scores
from cfs.scores.summary import summarise
from cfs.scoring.models import FeatureModel
from cfs.scoring.options import ScoringOptions
from cfs.scoring.scoring import score_images
from fastreid.config import CfgNode
from fastreid.data.build import build_transforms
from fastreid.modeling.backbones import build_backbone
from fastreid_compat.repairs.distributed.launch import num_cores
from reid_core.config import load_config
from torch import nn

from .harness import CPU, PEAK, WALL, Row, Sample, alternate, benchmark, timed
from .models import SIZE, vit_config
from .processes import HIGHEST, in_children, memory
from .synthetic import LUPERSON, Drawn, jpegs, write_scores

RESNET: list[Any] = ["MODEL.BACKBONE.DEPTH", "50x", "MODEL.BACKBONE.PRETRAIN", False]
MODELS: dict[str, Callable[[], CfgNode]] = {
    "ViT-S/16": lambda: vit_config("ViT-S/16", SIZE),
    "ResNet-50": lambda: load_config("", [*RESNET, "INPUT.SIZE_TEST", SIZE]),
}
SMALL = (16, 8)  # H, W of the images of one layer
WORKERS = 2


def pair_of(make: Callable[[], FeatureModel]) -> tuple[FeatureModel, FeatureModel]:
    """Two models of random weights."""
    return make().eval(), make().eval()


def speed_of(cfg: CfgNode, args: argparse.Namespace) -> Callable[[], Sample]:
    """A contender that scores ``args.images`` images."""
    torch.manual_seed(0)
    norm = cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD
    models = pair_of(lambda: FeatureModel(build_backbone(cfg), nn.AdaptiveAvgPool2d(1), *norm))
    images = Drawn(args.images, jpegs(SIZE, 64))
    transform = build_transforms(cfg, is_train=False)
    how = ScoringOptions(batch_size=32, shard_size=args.images)

    def run() -> Sample:
        with tempfile.TemporaryDirectory() as folder:
            score = functools.partial(score_images, images, *models, transform, folder, how)
            return timed(score)()

    return run


def speed(args: argparse.Namespace) -> Iterable[Row]:
    """One row for each model; the first is the baseline."""
    torch.set_num_threads(args.threads)
    contenders = {name: speed_of(MODELS[name](), args) for name in args.models}
    for run in contenders.values():
        run()  # warms up
    return alternate(contenders, args.rounds, key=CPU).rows(images=args.images)


def memory_of(count: int) -> Sample:
    """Score so many images; in a fresh process."""
    torch.manual_seed(0)
    norm = [0.0] * 3, [1.0] * 3
    models = pair_of(lambda: FeatureModel(nn.Conv2d(3, 8, 8, stride=8), nn.Identity(), *norm))
    transform = build_transforms(load_config("", ["INPUT.SIZE_TEST", SMALL]), is_train=False)
    how = ScoringOptions(num_workers=WORKERS)
    few, images = (Drawn(number, jpegs(SMALL, 1)) for number in (1000, count))
    with tempfile.TemporaryDirectory() as folder:
        score_images(few, *models, transform, f"{folder}/few", how)  # loads all
        before = memory(HIGHEST)
        sample = timed(lambda: score_images(images, *models, transform, f"{folder}/all", how))()
        return {**sample, PEAK: memory(HIGHEST) - before}


def memories(args: argparse.Namespace) -> Iterable[Row]:
    """Each number of images; the first is the baseline."""
    cases = {f"{count:,}": (count,) for count in args.rows}
    return alternate(in_children(memory_of, cases), key=PEAK).rows()


def selection(_: argparse.Namespace) -> Iterator[Row]:
    """Each step by LUPerson's number, with the peak of memory until then."""
    # 91 names a folder, as LUPerson has images a scene
    names = (f"video_{i // 91:08d}/frame_{i:08d}_person_00.jpg" for i in range(LUPERSON))
    with tempfile.TemporaryDirectory() as folder:
        write_scores(Path(folder), names, LUPERSON)
        scores = read_scores(folder)
        chosen = select(scores.names, scores.values, keep=0.5)
        file = Path(folder) / "CFS_list.pkl"
        steps: dict[str, Callable[[], Any]] = {
            "read": lambda: read_scores(folder),
            "select": lambda: select(scores.names, scores.values, keep=0.5),
            "write CFS_list.pkl": lambda: write_list(
                file, scores.names.take(chosen), scores.values[chosen]
            ),
            "inspect": lambda: summarise(scores),
        }
        for name, step in steps.items():
            yield {"step": name, WALL: timed(step)()[WALL], PEAK: memory(HIGHEST)}


PARTS = {"speed": speed, "memory": memories, "select": selection}
main, parser = benchmark(
    __doc__,
    lambda part, args: PARTS[part](args),
    each={"parts": "part"},
    parts=PARTS,
    models=MODELS,
    images=128,
    rounds=5,
    threads=num_cores(),
    rows=[10_000, 100_000, 1_000_000],
)
