"""Speed and memory of feature extraction: float32, bfloat16, ONNX Runtime.

python tools/benchmarks/extract_features.py

TransReID with JPM and SIE of 6 cameras, random weights, through ``FeatureExtractor``, from a batch
of resized images in memory to normalised features. Each variant has a process of its own in each
round; the baseline of all ratios is float32 in eager PyTorch, whose features the others must give.
Memory is the highest while batches run, weights included, above what the process held before its
model was built.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from transreid.export.onnx_export import export_onnx
from transreid.inference.extractor import FeatureExtractor

from .harness import PEAK, Row, Sample, alternate, benchmark, summary, timed
from .models import JPM_AND_SIE, MODEL, NUM_CAMERAS, SIZE, VITS, vit_config
from .processes import HIGHEST, RSS, forget_peak, in_children, memory

BASELINE = "PyTorch, float32, eager"
BFLOAT16 = "PyTorch, bfloat16 (autocast), eager"
ONNX = "ONNX Runtime, float32"
LEAST_COSINE = 0.99  # with the baseline's features; bfloat16 has 8 bits


def build(name: str, args: argparse.Namespace, precision: str = "fp32") -> FeatureExtractor:
    """The extractor of a model; all have the same weights."""
    torch.manual_seed(0)
    return FeatureExtractor(
        vit_config(name, args.size, more=JPM_AND_SIE),
        device="cpu",
        batch_size=args.batch,
        precision=precision,
        allow_random_weights=True,
    )


def extraction(
    name: str, variant: str, folder: str, args: argparse.Namespace
) -> Callable[[], np.ndarray]:
    """A function that extracts one and the same batch, images (B, 3, H, W), and its camera ids."""
    draw = torch.Generator().manual_seed(0)
    images = torch.rand(args.batch, 3, *args.size, generator=draw) * 255
    camids = torch.arange(args.batch) % NUM_CAMERAS
    if variant != ONNX:
        extractor = build(name, args, "bf16" if variant == BFLOAT16 else "fp32")
        views = torch.full_like(camids, -1)
        return lambda: extractor.extract(images, camids, views).numpy()

    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = args.threads
    file, providers = f"{folder}/model.onnx", ["CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(file, options, providers=providers)
    inputs: dict[str, Any] = {"images": images.numpy(), "camids": camids.numpy()}
    return lambda: session.run(None, inputs)[0]


def batches(name: str, variant: str, folder: str, args: argparse.Namespace) -> Sample:
    """Median time and peak of ``args.steps`` batches; in a fresh process."""
    torch.set_num_threads(args.threads)
    before = memory(RSS)
    extract = extraction(name, variant, folder, args)
    forget_peak()  # building a model is not extracting with it
    features = extract()  # warms up
    if variant == BASELINE:
        np.save(f"{folder}/features.npy", features)
    cosine = (features * np.load(f"{folder}/features.npy")).sum(axis=1).min()
    if not cosine > LEAST_COSINE:
        raise RuntimeError(f"{variant} gives other features than {BASELINE}: cosine {cosine}")
    run = timed(extract)
    return {**summary([run() for _ in range(args.steps)]), PEAK: memory(HIGHEST) - before}


def measure(name: str, args: argparse.Namespace) -> Iterator[Row]:
    """Time all variants of one model, alternating."""
    with tempfile.TemporaryDirectory() as folder:
        export_onnx(build(name, args).model, f"{folder}/model.onnx", args.size)
        cases = {v: (name, v, folder, args) for v in (BASELINE, BFLOAT16, ONNX)}
        yield from alternate(in_children(batches, cases), args.rounds).rows(images=args.batch)


main, parser = benchmark(
    __doc__,
    measure,
    "timm",
    "onnxruntime",
    each=MODEL,
    models=VITS,
    batch=32,
    steps=5,
    rounds=3,
    size=SIZE,
    threads=torch.get_num_threads(),
)
