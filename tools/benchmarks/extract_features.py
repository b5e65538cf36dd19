#!/usr/bin/env python3
"""Speed and memory of feature extraction: float32, bfloat16, ONNX Runtime, compiled.

python tools/benchmarks/extract_features.py

TransReID with JPM and SIE of 6 cameras, random weights, through ``FeatureExtractor``, from a batch
of resized images in memory to normalised features. Each variant has a process of its own, so that
the memory of one is not counted for another; batches alternate within one run. The baseline of all
ratios is float32 in eager PyTorch. Memory is the highest while batches run, weights included, above
what the process held before its model was built (on a GPU: what torch has allocated).
"""

from __future__ import annotations

import argparse
import multiprocessing
import re
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from reid_core.config import load_config
from transreid.inference.extractor import FeatureExtractor

MODELS = {
    "ViT-S/16": {"TIMM_NAME": "vit_small_patch16_224", "FEAT_DIM": 384},
    "ViT-B/16": {"TIMM_NAME": "vit_base_patch16_224", "FEAT_DIM": 768},
}
BASELINE = "fp32"
VARIANTS = {
    BASELINE: "PyTorch, float32, eager",
    "bf16": "PyTorch, bfloat16 (autocast), eager",
    "onnx": "ONNX Runtime, float32",
    "compiled": "PyTorch, float32, torch.compile",
}
NUM_CAMERAS = 6
LEAST_COSINE = 0.99  # with the baseline's features; bfloat16 has 8 bits


def build(name: str, variant: str, args: argparse.Namespace) -> FeatureExtractor:
    """The extractor of one variant; all have the same weights."""
    torch.manual_seed(0)
    keys: dict[str, Any] = {
        **{f"MODEL.BACKBONE.{key}": value for key, value in MODELS[name].items()},
        "MODEL.META_ARCHITECTURE": "TransReID",
        "MODEL.BACKBONE.NAME": "build_transreid_backbone",
        "MODEL.BACKBONE.STRIDE_SIZE": [args.stride] * 2,
        "MODEL.HEADS.NAME": "JPMHead",
        "MODEL.SIE.CAMERA": True,
        "MODEL.SIE.NUM_CAMERAS": NUM_CAMERAS,
        "MODEL.COMPILE": variant == "compiled",
        "INPUT.SIZE_TRAIN": args.size,
        "INPUT.SIZE_TEST": args.size,
    }
    return FeatureExtractor(
        load_config(options=[item for pair in keys.items() for item in pair]),
        device=args.device,
        batch_size=args.batch,
        precision="bf16" if variant == "bf16" else "fp32",
        allow_random_weights=True,
    )


def export(name: str, path: str, args: argparse.Namespace) -> None:
    """Write the ONNX file, in a process of its own."""
    from transreid.export.onnx_export import export_onnx

    export_onnx(build(name, BASELINE, args).model, path, args.size)


def prepare(name: str, variant: str, path: str, args: argparse.Namespace) -> Callable[[], Any]:
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
    wanted = ["CUDAExecutionProvider"] if args.device.startswith("cuda") else []
    known = onnxruntime.get_available_providers()
    providers = [p for p in [*wanted, "CPUExecutionProvider"] if p in known]
    session = onnxruntime.InferenceSession(path, options, providers=providers)
    inputs = {"images": images.numpy(), "camids": camids.numpy()}
    return lambda: session.run(None, inputs)[0]


def worker(
    connection: Connection, name: str, variant: str, path: str, args: argparse.Namespace
) -> None:
    """Extract a batch each time the parent asks; then tell the peak of memory in MiB."""
    torch.set_num_threads(args.threads)
    before = resident("VmRSS")
    extract = prepare(name, variant, path, args)
    reset_peak(args.device)
    connection.send(extract())  # warms up, compiles; its features are compared
    while connection.recv() == "go":
        start = time.perf_counter()
        extract()
        connection.send(time.perf_counter() - start)
    if args.device.startswith("cuda") and variant != "onnx":
        connection.send(torch.cuda.max_memory_allocated() / 2**20)
    else:
        connection.send(resident("VmHWM") - before)


def resident(field: str) -> float:
    """Memory of this process in MiB: "VmRSS" now, "VmHWM" at its highest; NaN without /proc."""
    status = Path("/proc/self/status")
    found = re.search(rf"{field}:\s+(\d+) kB", status.read_text() if status.exists() else "")
    return int(found[1]) / 1024 if found else float("nan")


def reset_peak(device: str) -> None:
    """Let the peak of memory start from now: building a model is not extracting with it."""
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
    if Path("/proc/self/clear_refs").exists():
        Path("/proc/self/clear_refs").write_text("5")


def measure(name: str, variants: list[str], folder: str, args: argparse.Namespace) -> list[str]:
    """Time all variants of one model, alternating; the rows of its table."""
    context = multiprocessing.get_context("spawn")
    path = f"{folder}/{name.replace('/', '')}.onnx"
    exporter = context.Process(target=export, args=(name, path, args))
    exporter.start()
    exporter.join()
    if exporter.exitcode:
        raise RuntimeError(f"the export of {name} failed, see above")
    connections, features = {}, {}
    for variant in variants:
        connections[variant], theirs = context.Pipe()
        context.Process(target=worker, args=(theirs, name, variant, path, args)).start()
        theirs.close()  # so that a worker that dies is an EOFError here
        features[variant] = connections[variant].recv()
    seconds: dict[str, list[float]] = {variant: [] for variant in variants}
    for _ in range(args.steps):
        for variant, connection in connections.items():
            connection.send("go")
            seconds[variant].append(connection.recv())
    rows = []
    for variant, connection in connections.items():
        connection.send("stop")
        cosine = (features[variant] * features[BASELINE]).sum(axis=1).min()
        times = np.array(seconds[variant]), np.array(seconds[BASELINE])
        rows.append(row(name, variant, args.batch, *times, connection.recv(), cosine))
    return rows


def row(
    name: str,
    variant: str,
    batch: int,
    seconds: np.ndarray,
    baseline: np.ndarray,
    memory: float,
    cosine: float,
) -> str:
    """One row of the table; ``seconds`` and ``baseline`` (steps,) are of the same rounds."""
    if not cosine > LEAST_COSINE:
        raise RuntimeError(f"{variant} gives other features than {BASELINE}: cosine {cosine}")
    rate, ratio = batch / np.median(seconds), np.median(baseline) / np.median(seconds)
    ratios = baseline / seconds
    return (
        f"| {name} | {VARIANTS[variant]} | {rate:.1f} | {ratio:.2f} | {ratios.min():.2f}-"
        f"{ratios.max():.2f} | {memory:.0f} | {cosine:.5f} |"
    )


def main() -> None:
    """Parse the command line, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--batch", type=int, default=32, help="images at once")
    parser.add_argument("--steps", type=int, default=7, help="timed batches of each variant")
    parser.add_argument("--size", nargs=2, type=int, default=[256, 128], metavar=("H", "W"))
    parser.add_argument("--stride", type=int, default=16)
    parser.add_argument("--compile", action="store_true", help="also with torch.compile")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    variants = [variant for variant in VARIANTS if variant != "compiled" or args.compile]
    print(f"torch {torch.__version__}, {args.device}, {args.threads} threads,", end=" ")
    print(f"batch {args.batch}, {args.size[0]}x{args.size[1]}, stride {args.stride},", end=" ")
    print(f"{args.steps} batches each\n")
    print("| model | variant | images/s | ratio | batch by batch | peak MiB | least cosine |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name in args.models:
            print("\n".join(measure(name, variants, folder, args)), flush=True)


if __name__ == "__main__":
    main()
