"""Speed and memory of feature extraction: float32, bfloat16, ONNX Runtime, compiled.

python tools/benchmarks/extract_features.py

TransReID with JPM and SIE of 6 cameras, random weights, through ``FeatureExtractor``, from a batch
of resized images in memory to normalised features. Each variant has a process of its own, so that
the memory of one is not counted for another; batches alternate within one run. The baseline of all
ratios is float32 in eager PyTorch. Memory is the highest while batches run, weights included, above
what the process held before its model was built.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import torch
from transreid.inference.extractor import FeatureExtractor

from .harness import PEAK, Row, Sample, alternate, benchmark, timed
from .models import JPM_AND_SIE, MODEL, NUM_CAMERAS, SIZE, VITS, vit_config
from .processes import HIGHEST, RSS, child, forget_peak, in_child, memory

BASELINE = "fp32"
VARIANTS = {
    BASELINE: "PyTorch, float32, eager",
    "bf16": "PyTorch, bfloat16 (autocast), eager",
    "onnx": "ONNX Runtime, float32",
    "compiled": "PyTorch, float32, torch.compile",
}
LEAST_COSINE = 0.99  # with the baseline's features; bfloat16 has 8 bits
run: Callable[[], Sample]  # of the variant that a process measures


def build(name: str, variant: str, args: argparse.Namespace) -> FeatureExtractor:
    """The extractor of one variant; all have the same weights."""
    torch.manual_seed(0)
    more = {**JPM_AND_SIE, "MODEL.COMPILE": variant == "compiled"}
    return FeatureExtractor(
        vit_config(name, args.size, more=more),
        device="cpu",
        batch_size=args.batch,
        precision="bf16" if variant == "bf16" else "fp32",
        allow_random_weights=True,
    )


def export(name: str, path: str, args: argparse.Namespace) -> None:
    """Write the ONNX file; in a process of its own."""
    from transreid.export.onnx_export import export_onnx

    export_onnx(build(name, BASELINE, args).model, path, args.size)


def extraction(name: str, variant: str, path: str, args: argparse.Namespace) -> Callable[[], Any]:
    """A function that extracts one and the same batch, images (B, 3, H, W), and its camera ids."""
    draw = torch.Generator().manual_seed(0)
    images = torch.rand(args.batch, 3, *args.size, generator=draw) * 255
    camids = torch.arange(args.batch) % NUM_CAMERAS
    if variant != "onnx":
        extractor = build(name, variant, args)
        views = torch.full_like(camids, -1)
        return lambda: extractor.extract(images, camids, views).numpy()

    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = args.threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    inputs = {"images": images.numpy(), "camids": camids.numpy()}
    return lambda: session.run(None, inputs)[0]


def start(name: str, variant: str, path: str, args: argparse.Namespace) -> Any:
    """Prepare :func:`one_batch` in a fresh process; returns the features (B, dim)."""
    global run
    torch.set_num_threads(args.threads)
    before = memory(RSS)
    extract = extraction(name, variant, path, args)
    forget_peak()  # building a model is not extracting with it
    features = extract()  # warms up, compiles
    run = lambda: {**timed(extract)(), PEAK: memory(HIGHEST) - before}  # noqa: E731
    return features


def one_batch() -> Sample:
    """Time and peak of one further batch."""
    return run()


def measure(name: str, args: argparse.Namespace) -> Iterator[Row]:
    """Time all variants of one model, alternating; yield the rows of its table."""
    variants = [variant for variant in VARIANTS if variant != "compiled" or args.compile]
    with contextlib.ExitStack() as stack:
        path = stack.enter_context(tempfile.TemporaryDirectory()) + "/model.onnx"
        in_child(export, name, path, args)
        children = {variant: stack.enter_context(child()) for variant in variants}
        features = {v: call(start, name, v, path, args) for v, call in children.items()}
        batches = {VARIANTS[v]: functools.partial(call, one_batch) for v, call in children.items()}
        rows = list(alternate(batches, args.steps).rows(images=args.batch))
    for variant, row in zip(variants, rows, strict=True):
        cosine = (features[variant] * features[BASELINE]).sum(axis=1).min()
        if not cosine > LEAST_COSINE:
            raise RuntimeError(f"{variant} gives other features than {BASELINE}: cosine {cosine}")
        yield {**row, "least cosine": f"{cosine:.5f}"}


main, parser = benchmark(
    __doc__,
    measure,
    "timm",
    "onnxruntime",
    each=MODEL,
    models=VITS,
    batch=32,
    steps=7,
    compile=False,
    size=SIZE,
    threads=torch.get_num_threads(),
)
