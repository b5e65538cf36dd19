"""Images/s of the training transforms on one core, against the released pipeline.

python tools/benchmarks/train_transforms.py

From JPEG bytes to a batch of 256x128, as a loader's worker makes it: resize, flip, pad and crop,
random erasing with noise. The baseline, held here, is the released pipeline: PIL images through
torchvision's transforms, normalised, erased by timm. Ours (INPUT.TRANSFORM TransReID) leaves the
normalisation to the model; with INPUT.ON_DEVICE a batch is bytes, and erased where it arrives. All
take the same images and have one thread. What counts is CPU time.
"""

from __future__ import annotations

import argparse
import io
import random
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import reid_core  # noqa: F401  (first: repairs FastReID)
import torch
import torchvision.transforms as tv
from fastreid.data.transforms import build_transforms
from fastreid_compat.repairs.loading.batches import collate
from PIL import Image
from reid_core.config import find_config, load_config
from timm.data.random_erasing import RandomErasing

from .harness import CPU, Row, alternate, benchmark, timed
from .models import SIZE, VIT_CONFIG
from .synthetic import jpegs

SOURCES = [(128, 64), (256, 128)]  # (H, W) of the JPEGs
Batch = Callable[[list[bytes]], Any]


def released() -> Callable[[Image.Image], Any]:
    """The released pipeline of Base-TransReID.yml."""
    return tv.Compose(
        [
            tv.Resize(SIZE, interpolation=tv.InterpolationMode.BICUBIC),
            tv.RandomHorizontalFlip(0.5),
            tv.Pad(10),
            tv.RandomCrop(SIZE),
            tv.ToTensor(),
            tv.Normalize([0.5] * 3, [0.5] * 3),
            RandomErasing(0.5, mode="pixel", max_count=1, device="cpu"),
        ]
    )


def pipelines() -> dict[str, Batch]:
    """Each way of making a batch: bytes of JPEGs -> its tensors."""
    names = {"ours": False, "ours, INPUT.ON_DEVICE": True}
    base = find_config(VIT_CONFIG)
    ways = {"PIL + torchvision": released()}
    for name, on_device in names.items():
        ways[name] = build_transforms(load_config(base, ["INPUT.ON_DEVICE", on_device]))

    def batch(transform: Callable[[Image.Image], Any], files: list[bytes]) -> Any:
        return collate([transform(Image.open(io.BytesIO(f)).convert("RGB")) for f in files])

    return {name: partial(batch, transform) for name, transform in ways.items()}


def num_bytes(batch: Any) -> int:
    """Bytes of all tensors of a batch."""
    tensors = batch.values() if isinstance(batch, dict) else [batch]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def rows(args: argparse.Namespace) -> Iterator[Row]:
    """Time all pipelines, alternating, for images of each size."""
    torch.set_num_threads(1)
    random.seed(0)
    torch.manual_seed(0)
    ways = pipelines()
    for size in SOURCES:
        files = jpegs(size, args.images)
        sizes = {name: num_bytes(way(files)) for name, way in ways.items()}  # and warms up
        contenders = {name: timed(partial(way, files)) for name, way in ways.items()}
        for row in alternate(contenders, args.rounds, key=CPU).rows(images=args.images):
            kib = sizes[str(row["contender"])] / args.images / 1024
            yield {"JPEG, WxH": f"{size[1]}x{size[0]}", **row, "KiB an image": kib}


PACKAGES = ("torchvision", "Pillow", "timm")
main, parser = benchmark(__doc__, rows, *PACKAGES, images=64, rounds=15)
