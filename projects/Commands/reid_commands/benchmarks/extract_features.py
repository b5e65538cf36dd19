"""Speed and memory of feature extraction: the released way, ours, ONNX Runtime, OpenVINO, int8.

python tools/benchmarks/extract_features.py

TransReID with JPM and SIE of 6 cameras, random weights, from a batch of resized images in memory to
normalised features. The released way, held here, runs the last blocks over all tokens and the local
block once a part; ratios refer to it. int8 is calibrated on the batch itself: its speed is that of
a file of tools/quantize.py, its accuracy is not. auto chooses once, in a cache of its own. Each
variant has a process of its own in each round. "cosine" is the lowest with the released way's
features; variants of float32 and bfloat16 must have 0.99. Memory is the highest while batches run,
weights included, above what the process held before its model was built.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transreid.export.onnx_export import export_onnx
from transreid.inference.backends.backend import ONNX_RUNTIME, OPENVINO, installed
from transreid.inference.backends.choices import PLACE
from transreid.inference.backends.files import open_runner
from transreid.inference.extractor import FeatureExtractor
from transreid.quantize.graph import read_graph
from transreid.quantize.ranges import ranges_of
from transreid.quantize.smoothing import smooth
from transreid.quantize.writing import quantised, write_graph

from .harness import PEAK, Row, Sample, alternate, benchmark, summary, timed
from .models import JPM_AND_SIE, MODEL, NUM_CAMERAS, SIZE, VITS, vit_config
from .processes import HIGHEST, RSS, forget_peak, in_children, memory
from .train_step import plain_features

BASELINE = "PyTorch, float32, the released way"
TORCH = {"PyTorch, float32": "fp32", "PyTorch, bfloat16 (autocast)": "bf16"}
AUTO = "auto"
GRAPHS = {  # variant -> file, backend
    "ONNX Runtime, float32": ("model.onnx", ONNX_RUNTIME),
    "OpenVINO, float32": ("model.onnx", OPENVINO),
    "ONNX Runtime, int8": ("int8.onnx", ONNX_RUNTIME),
    "OpenVINO, int8": ("int8.onnx", OPENVINO),
}
LEAST_COSINE = 0.99  # with the baseline's features, but for int8; bfloat16 has 8 bits


def build(name: str, args: argparse.Namespace, **how: str) -> FeatureExtractor:
    """The extractor of a model; all have the same weights."""
    torch.manual_seed(0)
    return FeatureExtractor(
        vit_config(name, args.size, more=JPM_AND_SIE),
        device="cpu",
        batch_size=args.batch,
        allow_random_weights=True,
        **how,  # type: ignore[arg-type]
    )


def batch_of(args: argparse.Namespace) -> tuple[Tensor, Tensor]:
    """Images (B, 3, H, W) and their camera ids: always the same."""
    draw = torch.Generator().manual_seed(0)
    images = (torch.rand(args.batch, 3, *args.size, generator=draw) * 255).round()
    return images, torch.arange(args.batch) % NUM_CAMERAS


@torch.no_grad()
def released(model: Any, images: Tensor, camids: Tensor) -> np.ndarray:
    """Features (B, D) by the released way: those of the parts divided by their number."""
    first, *parts = plain_features(model, {"images": images, "camids": camids})
    return F.normalize(torch.cat([first, *(part / len(parts) for part in parts)], 1)).numpy()


def extraction(
    name: str, variant: str, folder: str, args: argparse.Namespace
) -> Callable[[], np.ndarray]:
    """A function that extracts one and the same batch."""
    images, camids = batch_of(args)
    views = torch.full_like(camids, -1)
    if variant in GRAPHS:
        file, backend = GRAPHS[variant]
        runner = open_runner(f"{folder}/{file}", backend, args.threads)
        inputs: dict[str, Any] = {"images": images.numpy(), "camids": camids.numpy()}
        return lambda: runner.run(inputs)
    if variant == BASELINE:
        model = build(name, args).model
        return lambda: released(model, images, camids)
    how = {"precision": TORCH.get(variant, AUTO), "backend": AUTO if variant == AUTO else "torch"}
    extractor = build(name, args, **how)
    if variant == AUTO:
        extractor.extract(images, camids, views)  # chooses
        print(f"auto: {extractor.backend}, {extractor.precision}", file=sys.stderr)
    return lambda: extractor.extract(images, camids, views).numpy()


def batches(name: str, variant: str, folder: str, args: argparse.Namespace) -> Sample:
    """Median time and peak of ``args.steps`` batches; in a fresh process."""
    torch.set_num_threads(args.threads)
    before = memory(RSS)
    extract = extraction(name, variant, folder, args)
    forget_peak()  # building a model is not extracting with it
    features = extract()  # warms up
    if variant == BASELINE:
        np.save(f"{folder}/features.npy", features)
    cosine = float((features * np.load(f"{folder}/features.npy")).sum(axis=1).min())
    if not cosine > LEAST_COSINE and "int8" not in variant:
        raise RuntimeError(f"{variant} gives other features than {BASELINE}: cosine {cosine}")
    run = timed(extract)
    times = summary([run() for _ in range(args.steps)])
    return {**times, PEAK: memory(HIGHEST) - before, "cosine": cosine}


def write_graphs(name: str, folder: str, args: argparse.Namespace) -> None:
    """Write the model as ONNX in float32 and in int8."""
    export_onnx(build(name, args).model, f"{folder}/model.onnx", args.size)
    graph = read_graph(f"{folder}/model.onnx")
    images, camids = batch_of(args)
    ranges = ranges_of(graph, [{"images": images.numpy(), "camids": camids.numpy()}])
    smooth(graph, ranges)
    about = {"precision": "int8"}
    write_graph(quantised(graph, graph.layers(), ranges), Path(folder) / "int8.onnx", about)


def measure(name: str, args: argparse.Namespace) -> Iterator[Row]:
    """Time all variants of one model, alternating."""
    torch.set_num_threads(args.threads)
    graphs = [variant for variant, (_, backend) in GRAPHS.items() if installed(backend)]
    with tempfile.TemporaryDirectory() as folder:
        os.environ[PLACE] = f"{folder}/cache"
        write_graphs(name, folder, args)
        variants = (BASELINE, *TORCH, *graphs, AUTO)
        cases = {variant: (name, variant, folder, args) for variant in variants}
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
