"""Write a trained model as one file, checked against PyTorch: .onnx, .xml (OpenVINO) or .pt2.

transreid export -o model.onnx \\
    --config-file logs/run/config.yaml --weights logs/run/model_final.pth

The graph takes "images" (B, 3, H, W), float32 RGB of 0..255, resized as its metadata say, and gives
"features" (B, D), L2-normalised: the product of two is their cosine. A model with side information
also takes "camids" and "viewids" (B,), int64, 0-based, negative = unknown, unless --camera and
--view fix them.

With --profile the graph takes what a tracker or server gives instead, and what that looks for
beside the file is written too.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from reid_core.run.command_line import add_config_arguments, command_parser
from transreid.deploy.trained import export_trained
from transreid.export.input_range import KINDS
from transreid.export.onnx_model import INPUT, OFF
from transreid.export.profiles import PLAIN, PROFILES

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
    add(
        "-o",
        "--out",
        required=True,
        type=Path,
        metavar="FILE",
        help="file to write: .onnx, .xml or .pt2",
    )
    add_weights(lines)
    for name in ("camera", "view"):
        help_text = (
            f"input (default if the model embeds the {name} and the profile has it), off = "
            f"unknown, or the number of the {name} that all images are from"
        )
        add(f"--{name}", type=side_choice, metavar="input|off|N", help=help_text)
    profiles = "; ".join(f"{p.name}: {p.consumer}" for p in PROFILES.values())
    profile_help = f"program that will run the file ({PLAIN}). {profiles}"
    add("--profile", choices=tuple(PROFILES), default=PLAIN, help=profile_help)
    input_help = (
        f"numbers of the images of --profile {PLAIN}: 0-255 (default), 0-1, or imagenet: 0..1 less "
        "ImageNet's mean, by its deviation. Images of another range give NaN"
    )
    add("--input", choices=tuple(KINDS), dest="input_range", help=input_help)
    batch_help = "fixed number of images at once; 0: any (0; 1 with --profile opencv)"
    add("--batch", type=int, metavar="N", help=batch_help)
    add("--global-only", action="store_true", help="leave out the parts of JPM: 5 times shorter")
    add("--half", action="store_true", help="weights of an .xml in float16: half the size")
    add("--opset", type=int, default=17, help="version of ONNX's operators, 14..20 (17)")
    add_config_arguments(lines)
    return lines


@command(parser)
def main(args: argparse.Namespace) -> None:
    """Run the command line."""
    check_model_is_named(args)
    names = ("global_only", "camera", "view", "profile", "input_range", "batch", "opset", "half")
    options = {name: getattr(args, name) for name in names}
    export_trained(args.out, args.config_file, args.weights, args.opts, **options)
