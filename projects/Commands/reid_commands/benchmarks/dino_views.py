"""Images/s of DINO's views on one core, against the pipeline of PIL and torchvision.

python tools/benchmarks/dino_views.py

From JPEG bytes to 2 global views of 256x128 and 8 local ones of 128x64. The baselines, held here,
are the released pipeline (PIL images through torchvision's transforms, normalised float views) and
torchvision v2 on uint8 tensors; ours leaves uint8 views, which the model normalises. All take the
same images, alternate within one run and have one thread. What counts is CPU time, so that other
programs on the machine matter little; the ratio is of the medians.
"""

from __future__ import annotations

import argparse
import functools
import io
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
import torchvision.transforms as tv
from dinopretrain.transforms.decode import decode_image
from dinopretrain.transforms.views import MultiCrop, dino_views, use_one_thread
from PIL import Image, ImageFilter
from torchvision.io import ImageReadMode, decode_jpeg
from torchvision.transforms import v2

from .harness import CPU, Row, alternate, benchmark, timed
from .synthetic import jpegs

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
GLOBAL, LOCAL, NUM_LOCAL = (256, 128), (128, 64), 8
SOURCES = [(128, 64), (256, 128)]  # (H, W) of the JPEGs
# P(blur), P(solarize)
KINDS = {"global 1": (1.0, 0.0), "global 2": (0.1, 0.2), "local": (0.5, 0.0)}
Views = Callable[[bytes], Any]
Transform = Callable[[Any], Any]


def pil_blur(image: Image.Image) -> Image.Image:
    """PIL's Gaussian blur with a radius from 0.1 to 2."""
    return image.filter(ImageFilter.GaussianBlur(np.random.uniform(0.1, 2.0)))


def torchvision_kind(api: Any, kind: str, blur: Transform, *last: Transform) -> Transform:
    """One kind of view as the released code makes it.

    Args:
        api: torchvision.transforms for PIL images, or its v2 for uint8 tensors (3, H, W).
        kind: of KINDS.
        blur: with a radius from 0.1 to 2.
        last: from the view to a normalised float tensor.
    """
    probability, solarize = KINDS[kind]
    size, scale = (LOCAL, (0.05, 0.4)) if kind == "local" else (GLOBAL, (0.4, 1.0))
    bicubic = tv.InterpolationMode.BICUBIC
    return api.Compose(
        [
            api.RandomResizedCrop(size, scale, interpolation=bicubic, antialias=True),
            api.RandomHorizontalFlip(0.5),
            api.RandomApply([api.ColorJitter(0.4, 0.4, 0.2, 0.1)], 0.8),
            api.RandomGrayscale(0.2),
            api.RandomApply([blur], probability),
            api.RandomSolarize(128, solarize),
            *last,
            api.Normalize(MEAN, STD),
        ]
    )


def pipelines() -> dict[str, Views]:
    """Each way of making views: JPEG bytes -> views."""
    order = ["global 1", "global 2", *["local"] * NUM_LOCAL]
    blur, to_float = v2.GaussianBlur(13, (0.1, 2.0)), v2.ToDtype(torch.float32, scale=True)
    released = {kind: torchvision_kind(tv, kind, pil_blur, tv.ToTensor()) for kind in KINDS}
    tensors = {kind: torchvision_kind(v2, kind, blur, to_float) for kind in KINDS}
    ours = MultiCrop(
        **dict(zip(("global_views", "local_views"), dino_views(num_local=NUM_LOCAL), strict=True))
    )

    def by_pil(data: bytes) -> list[torch.Tensor]:
        image = Image.open(io.BytesIO(data)).convert("RGB")
        return [released[kind](image) for kind in order]

    def by_tensors(data: bytes) -> list[torch.Tensor]:
        raw = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        image = decode_jpeg(raw, ImageReadMode.RGB)
        return [tensors[kind](image) for kind in order]

    return {
        "PIL + torchvision": by_pil,
        "torchvision v2, tensors": by_tensors,
        "ours": lambda data: ours(decode_image(data)),
    }


def views_of_all(views: Views, files: list[bytes]) -> None:
    """Make the views of all images; what is timed."""
    for data in files:
        views(data)


def rows(args: argparse.Namespace) -> Iterator[Row]:
    """Time all pipelines, alternating, for images of each size."""
    use_one_thread()
    torch.set_num_threads(1)
    np.random.seed(0)
    torch.manual_seed(0)
    ways = pipelines()
    for size in SOURCES:
        files = jpegs(size, args.images)
        for views in ways.values():
            views(files[0])  # the first call fills tables
        contenders = {
            name: timed(functools.partial(views_of_all, views, files))
            for name, views in ways.items()
        }
        for row in alternate(contenders, args.rounds, key=CPU).rows(images=args.images):
            yield {"JPEG, WxH": f"{size[1]}x{size[0]}", **row}


PACKAGES = ("torchvision", "Pillow", "opencv-python-headless")
main, parser = benchmark(__doc__, rows, *PACKAGES, images=20, rounds=9)
