#!/usr/bin/env python3
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
import io
import time
from collections.abc import Callable
from typing import Any

import cv2
import fastreid_compat  # noqa: F401  (first: makes fastreid importable)
import numpy as np
import torch
import torchvision.transforms as tv
from dinopretrain.transforms.decode import decode_image
from dinopretrain.transforms.views import MultiCrop, dino_views, use_one_thread
from PIL import Image, ImageFilter
from torchvision.io import ImageReadMode, decode_jpeg
from torchvision.transforms import v2

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
GLOBAL, LOCAL, NUM_LOCAL = (256, 128), (128, 64), 8
SOURCES = [(128, 64), (256, 128)]  # (H, W) of the JPEGs
KINDS = {
    "global 1": (1.0, 0.0),
    "global 2": (0.1, 0.2),
    "local": (0.5, 0.0),
}  # P(blur), P(solarize)
Views = Callable[[bytes], Any]


class PILBlur:
    """PIL's Gaussian blur with a radius from 0.1 to 2."""

    def __call__(self, image: Image.Image) -> Image.Image:
        """Blur ``image``."""
        return image.filter(ImageFilter.GaussianBlur(np.random.uniform(0.1, 2.0)))


def released_kind(kind: str) -> Callable[[Image.Image], torch.Tensor]:
    """The released pipeline of one kind of view, on a PIL image."""
    blur, solarize = KINDS[kind]
    size, scale = (LOCAL, (0.05, 0.4)) if kind == "local" else (GLOBAL, (0.4, 1.0))
    return tv.Compose(
        [
            tv.RandomResizedCrop(size, scale, interpolation=tv.InterpolationMode.BICUBIC),
            tv.RandomHorizontalFlip(0.5),
            tv.RandomApply([tv.ColorJitter(0.4, 0.4, 0.2, 0.1)], 0.8),
            tv.RandomGrayscale(0.2),
            tv.RandomApply([PILBlur()], blur),
            tv.RandomSolarize(128, solarize),
            tv.ToTensor(),
            tv.Normalize(MEAN, STD),
        ]
    )


def tensor_kind(kind: str) -> Callable[[torch.Tensor], torch.Tensor]:
    """The same by torchvision v2, on a uint8 tensor (3, H, W)."""
    blur, solarize = KINDS[kind]
    size, scale = (LOCAL, (0.05, 0.4)) if kind == "local" else (GLOBAL, (0.4, 1.0))
    return v2.Compose(
        [
            v2.RandomResizedCrop(
                size, scale, interpolation=v2.InterpolationMode.BICUBIC, antialias=True
            ),
            v2.RandomHorizontalFlip(0.5),
            v2.RandomApply([v2.ColorJitter(0.4, 0.4, 0.2, 0.1)], 0.8),
            v2.RandomGrayscale(0.2),
            v2.RandomApply([v2.GaussianBlur(13, (0.1, 2.0))], blur),
            v2.RandomSolarize(128, solarize),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(MEAN, STD),
        ]
    )


def pipelines() -> dict[str, Views]:
    """Each way of making views: JPEG bytes -> views."""
    order = ["global 1", "global 2", *["local"] * NUM_LOCAL]
    released = {kind: released_kind(kind) for kind in KINDS}
    tensors = {kind: tensor_kind(kind) for kind in KINDS}
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


def jpegs(size: tuple[int, int], count: int) -> list[bytes]:
    """JPEG files of (H, W) pixels with coarse and fine structure."""
    rng = np.random.default_rng(0)
    files = []
    for _ in range(count):
        coarse = rng.integers(0, 256, (8, 4, 3), dtype=np.uint8)
        image = cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC).astype(np.int16)
        image += rng.integers(-16, 17, image.shape, dtype=np.int16)
        files.append(cv2.imencode(".jpg", image.clip(0, 255).astype(np.uint8))[1].tobytes())
    return files


def seconds(views: Views, files: list[bytes]) -> float:
    """CPU time for the views of all files."""
    start = time.process_time()
    for data in files:
        views(data)
    return time.process_time() - start


def measure(size: tuple[int, int], images: int, rounds: int) -> str:
    """Time all ways, alternating; the rows of the table for images of one size."""
    files = jpegs(size, images)
    ways = pipelines()
    for views in ways.values():
        views(files[0])  # the first call fills tables
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, views in ways.items():
            times[name].append(seconds(views, files))
    baseline = np.array(times["PIL + torchvision"])
    rows = []
    for name, taken in times.items():
        spread = baseline / taken
        ratio = np.median(baseline) / np.median(taken)
        rows.append(
            f"| {size[1]}x{size[0]} | {name} | {images / np.median(taken):.1f} | {ratio:.2f}"
            f" | {spread.min():.2f}-{spread.max():.2f} |"
        )
    return "\n".join(rows)


def main() -> None:
    """Parse the command line, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=20, help="a round of each way")
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    use_one_thread()
    torch.set_num_threads(1)
    np.random.seed(0)
    torch.manual_seed(0)
    print(f"torch {torch.__version__}, OpenCV {cv2.__version__}, one thread,", end=" ")
    print(f"{args.rounds} rounds of {args.images} images\n")
    print("| JPEG, WxH | views by | images/s of CPU time | times PIL's | round by round |")
    print("|---|---|---|---|---|")
    for size in SOURCES:
        print(measure(size, args.images, args.rounds), flush=True)


if __name__ == "__main__":
    main()
