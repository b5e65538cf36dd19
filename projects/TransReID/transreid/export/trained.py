#!/usr/bin/env python3
"""A trained model as one ONNX file, checked against PyTorch with ONNX Runtime.

python tools/export_onnx.py -o model.onnx \
    --config-file logs/run/config.yaml --weights logs/run/model_final.pth

The graph takes "images" (B, 3, H, W), float32 RGB of 0..255, resized as the metadata say, and gives
"features" (B, D), L2-normalised: the product of two is their cosine. A model with side information
also takes "camids" and "viewids" (B,), int64, 0-based, negative = unknown, unless --camera and
--view fix them.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from reid_common.errors import UserError
from reid_core.run.command_line import show_user_errors
from transreid.export.onnx_export import export_onnx
from transreid.export.onnx_model import INPUT, OFF
from transreid.inference.extractor import FeatureExtractor
from transreid.inference.run_meta import describe
from transreid.modeling.backbone import TransReIDBackbone
from transreid.weights.formats import read_weights


def side_choice(text: str) -> int | str:
    """Value of --camera and --view: "input", "off" or a 0-based number."""
    if text in (INPUT, OFF):
        return text
    if text.isdecimal():
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r}: write input, off or a number from 0 on")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = arguments.add_argument
    add("-o", "--out", required=True, type=Path, metavar="ONNX", help="file to write")
    add("--config-file", required=True, metavar="YAML", help="config of the model")
    add("--weights", metavar="PTH", help="checkpoint; default: MODEL.WEIGHTS")
    for name in ("camera", "view"):
        help_text = (
            f"input (default where the model embeds the {name}), off = unknown, or the number of "
            "the one that all images are from"
        )
        add(f"--{name}", type=side_choice, metavar="input|off|N", help=help_text)
    add("--global-only", action="store_true", help="without the parts of JPM: 5 times shorter")
    add("--opset", type=int, default=17, help="version of ONNX's operators, 14..20 (17)")
    add("opts", nargs="*", metavar="KEY VALUE", help="changes of the config")
    return arguments


def metadata(extractor: FeatureExtractor, args: argparse.Namespace) -> dict[str, str]:
    """What a program that runs the graph needs to know of it, as ONNX's text properties."""
    cfg = extractor.cfg
    about = describe(extractor, [])
    sie = getattr(extractor.model.backbone, "sie", None)
    properties = {
        "image_size": list(cfg.INPUT.SIZE_TEST),  # height, width in pixels
        "color": "RGB, 0..255",
        "transform": " ".join(repr(extractor.transform).split()),
        "pixel_mean": list(cfg.MODEL.PIXEL_MEAN),
        "pixel_std": list(cfg.MODEL.PIXEL_STD),
        "num_classes": num_classes(extractor),
        "num_cameras": 0 if sie is None else sie.num_cameras,
        "num_views": 0 if sie is None else sie.num_views,
        "cameras": list(extractor.cameras),
        "unknown": "" if sie is None else sie.unknown,
        "flip": bool(cfg.TEST.FLIP.ENABLED),
        "config_name": Path(args.config_file).name,
        "config": about["config"],
        "weights_sha256": about["weights_sha256"],
        "versions": about["versions"],
    }
    return {k: v if isinstance(v, str) else json.dumps(v) for k, v in properties.items()}


def num_classes(extractor: FeatureExtractor) -> int:
    """Identities that the weights were trained on; 0 for FastReID's models and without classifier.

    The model has no classifier any more: the checkpoint tells.
    """
    if not isinstance(extractor.model.backbone, TransReIDBackbone):
        return 0
    state = read_weights(extractor.cfg.MODEL.WEIGHTS).state
    return max((len(v) for k, v in state.items() if k.endswith("classifier.weight")), default=0)


@show_user_errors
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    args = parser().parse_intermixed_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    if args.out.suffix != ".onnx":
        raise UserError(f"--out {str(args.out)!r}: name it so that it ends in .onnx")
    extractor = FeatureExtractor(
        args.config_file,
        args.weights,
        device="cpu",
        global_only=args.global_only,
        options=[*args.opts, "MODEL.COMPILE", "False"],
    )
    cfg = extractor.cfg
    report = export_onnx(
        extractor.model,
        args.out,
        cfg.INPUT.SIZE_TEST,
        camera=args.camera,
        view=args.view,
        flip=cfg.TEST.FLIP.ENABLED,
        opset=args.opset,
        metadata=metadata(extractor, args),
    )
    print(
        f"{report.path}: {', '.join(report.inputs)} -> features of {report.feature_dim} numbers "
        f"({os.path.getsize(report.path) / 2**20:.1f} MiB)\n"
        f"ONNX Runtime against PyTorch: at most {report.difference:.1e} apart"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
