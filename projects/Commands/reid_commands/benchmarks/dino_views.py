"""Images/s of DINO's views on one core, against the pipeline of PIL and torchvision.

python tools/benchmarks/dino_views.py

From JPEG bytes to 2 global views of 256x128 and 8 local ones of 128x64. The baseline, held here,
is the released pipeline (PIL images through torchvision's transforms, normalised float views);
ours leaves uint8 views, which the model normalises. Both take the same images and have one thread.
What counts is CPU time, so that other programs on the machine matter little.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
import torchvision.transforms as tv
from dinopretrain.transforms.decode import decode_image
from dinopretrain.transforms.recipes import dino_views
from dinopretrain.transforms.views import MultiCrop, use_one_thread
from PIL import Image, ImageFilter

from .harness import CPU, Row, alternate, benchmark, timed
from .synthetic import jpegs

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
GLOBAL, LOCAL, NUM_LOCAL = (256, 128), (128, 64), 8
SOURCES = [(128, 64), (256, 128)]  # (H, W) of the JPEGs
Views = Callable[[list[bytes]], Any]


def blur(image: Image.Image) -> Image.Image:
    """PIL's Gaussian blur with a radius from 0.1 to 2."""
    return image.filter(ImageFilter.GaussianBlur(np.random.uniform(0.1, 2.0)))


def released_kind(size: tuple[int, int], blurred: float, solarized: float) -> tv.Compose:
    """One kind of view as the released code makes it, with the probabilities of two changes."""
    scale = (0.05, 0.4) if size == LOCAL else (0.4, 1.0)
    return tv.Compose(
        [
            tv.RandomResizedCrop(size, scale, interpolation=tv.InterpolationMode.BICUBIC),
            tv.RandomHorizontalFlip(0.5),
            tv.RandomApply([tv.ColorJitter(0.4, 0.4, 0.2, 0.1)], 0.8),
            tv.RandomGrayscale(0.2),
            tv.RandomApply([blur], blurred),
            tv.RandomSolarize(128, solarized),
            tv.ToTensor(),
            tv.Normalize(MEAN, STD),
        ]
    )


def pipelines() -> dict[str, Views]:
    """Each way of making views: bytes of JPEGs -> views."""
    kinds = [released_kind(GLOBAL, 1.0, 0.0), released_kind(GLOBAL, 0.1, 0.2)]
    kinds += [released_kind(LOCAL, 0.5, 0.0)] * NUM_LOCAL
    global_views, local_views = dino_views(num_local=NUM_LOCAL)
    ours = MultiCrop(global_views=global_views, local_views=local_views)

    def by_pil(files: list[bytes]) -> list[torch.Tensor]:
        images = (Image.open(io.BytesIO(data)).convert("RGB") for data in files)
        return [kind(image) for image in images for kind in kinds]

    return {
        "PIL + torchvision": by_pil,
        "ours": lambda files: [ours(decode_image(data)) for data in files],
    }


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
            views(files[:1])  # the first call fills tables
        contenders = {name: timed(partial(views, files)) for name, views in ways.items()}
        for row in alternate(contenders, args.rounds, key=CPU).rows(images=args.images):
            yield {"JPEG, WxH": f"{size[1]}x{size[0]}", **row}


PACKAGES = ("torchvision", "Pillow", "opencv-python-headless")
main, parser = benchmark(__doc__, rows, *PACKAGES, images=20, rounds=9)
