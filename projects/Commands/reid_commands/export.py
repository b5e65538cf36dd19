"""Write a trained model as one ONNX file, checked against PyTorch with ONNX Runtime.

transreid export -o model.onnx \\
    --config-file logs/run/config.yaml --weights logs/run/model_final.pth

The graph takes "images" (B, 3, H, W), float32 RGB of 0..255, resized as its metadata say (--input
for a tracker that normalises them), and gives
"features" (B, D), L2-normalised: the product of two is their cosine. A model with side information
also takes "camids" and "viewids" (B,), int64, 0-based, negative = unknown, unless --camera and
--view fix them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from reid_core.run.command_line import add_config_arguments, command_parser
from transreid.export.input_range import KINDS, PIXELS
from transreid.export.onnx_model import INPUT, OFF
from transreid.export.trained import export_trained

from .arguments import add_weights, check_model_is_named
from .command import command


def side_choice(text: str) -> int | str:
    """Value of --camera and --view: "input", "off" or a 0-based number."""
    if text in (INPUT, OFF):
        return text
    if text.isdecimal():
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r}: write input, off or a number from 0 on")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    lines = command_parser(__doc__)
    add = lines.add_argument
    add("-o", "--out", required=True, type=Path, metavar="ONNX", help="file to write")
    add_weights(lines)
    for name in ("camera", "view"):
        help_text = (
            f"input (default if the model embeds the {name}), off = unknown, or the number of the "
            f"{name} that all images are from"
        )
        add(f"--{name}", type=side_choice, metavar="input|off|N", help=help_text)
    input_help = (
        "numbers of the images: 0-255 (default), 0-1, or imagenet: 0..1 less ImageNet's mean, by "
        "its deviation, which trackers give. Images of another range give NaN"
    )
    add("--input", choices=tuple(KINDS), default=PIXELS, dest="input_range", help=input_help)
    add("--global-only", action="store_true", help="leave out the parts of JPM: 5 times shorter")
    add("--opset", type=int, default=17, help="version of ONNX's operators, 14..20 (17)")
    add_config_arguments(lines)
    return lines


@command(parser)
def main(args: argparse.Namespace) -> None:
    """Run the command line."""
    check_model_is_named(args)
    options = {
        name: getattr(args, name)
        for name in ("global_only", "camera", "view", "input_range", "opset")
    }
    export_trained(args.out, args.config_file, args.weights, args.opts, **options)
