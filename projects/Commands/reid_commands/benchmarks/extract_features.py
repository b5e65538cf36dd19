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
import contextlib
import functools
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from reid_core.config import load_config
from reid_core.run.command_line import show_user_errors
from transreid.inference.extractor import FeatureExtractor

from .harness import PEAK, Cell, alternate, header, print_table, timed
from .processes import HIGHEST, RSS, answers, forget_peak, in_child, memory

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
    """Write the ONNX file; in a process of its own."""
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


def extractions(name: str, variant: str, path: str, args: argparse.Namespace) -> Iterator[Any]:
    """Yield features (B, dim), then a sample for each further batch; in a fresh process."""
    torch.set_num_threads(args.threads)
    cuda = args.device.startswith("cuda") and variant != "onnx"
    before = memory(RSS)
    extract = prepare(name, variant, path, args)
    forget_peak()  # building a model is not extracting with it
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    yield extract()  # warms up, compiles; its features are compared
    while True:
        sample = timed(extract)()
        peak = torch.cuda.max_memory_allocated() / 2**20 if cuda else memory(HIGHEST) - before
        yield {**sample, PEAK: peak}


def measure(
    name: str, variants: list[str], folder: str, args: argparse.Namespace
) -> Iterator[dict[str, Cell]]:
    """Time all variants of one model, alternating; yield the rows of its table."""
    path = f"{folder}/{name.replace('/', '')}.onnx"
    in_child(export, name, path, args)
    with contextlib.ExitStack() as stack:
        features, contenders = {}, {}
        for variant in variants:
            stream = answers(extractions, name, variant, path, args)
            stack.enter_context(contextlib.closing(stream))
            features[variant] = next(stream)
            contenders[VARIANTS[variant]] = functools.partial(next, stream)
        rows = list(alternate(contenders, args.steps).rows(images=args.batch))
    for variant, row in zip(variants, rows, strict=True):
        cosine = (features[variant] * features[BASELINE]).sum(axis=1).min()
        if not cosine > LEAST_COSINE:
            raise RuntimeError(f"{variant} gives other features than {BASELINE}: cosine {cosine}")
        yield {"model": name, **row, "least cosine": f"{cosine:.5f}"}


@show_user_errors
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--batch", type=int, default=32, help="images at once")
    parser.add_argument("--steps", type=int, default=7, help="timed batches of each variant")
    parser.add_argument("--size", nargs=2, type=int, default=[256, 128], metavar=("H", "W"))
    parser.add_argument("--stride", type=int, default=16)
    parser.add_argument("--compile", action="store_true", help="also with torch.compile")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args(argv)
    variants = [variant for variant in VARIANTS if variant != "compiled" or args.compile]
    header(args, "timm", "onnxruntime")
    with tempfile.TemporaryDirectory() as folder:
        print_table(row for name in args.models for row in measure(name, variants, folder, args))
    return 0
