"""Arguments that several commands have: models, images, pictures."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from fastreid_compat.repairs.distributed.launch import num_cores
from reid_common.errors import UserError
from reid_common.left_out import MOST
from reid_core.run.command_line import add_config_arguments
from transreid.inference.backends.backend import AUTO, BACKENDS
from transreid.inference.extraction import SHARD_SIZE
from transreid.inference.extractor import PRECISIONS, FeatureExtractor

BACKENDS_LOG = "transreid.inference.backends"  # what auto chose, and why
EXTRACTOR_OPTIONS = (
    "device",
    "batch_size",
    "precision",
    "backend",
    "remeasure",
    "global_only",
)


def add_model_arguments(parser: argparse.ArgumentParser, batch_size: int = 64) -> None:
    """Add checkpoint, device and batch size, which :func:`build_extractor` reads."""
    add_weights(parser)
    add_device_arguments(parser, batch_size)


def add_weights(parser: argparse.ArgumentParser) -> None:
    """Add the checkpoint."""
    text = (
        "checkpoint (default: MODEL.WEIGHTS); without --config-file: folder of transreid publish, "
        "USER/NAME on the Hugging Face hub, or .onnx, .xml, .pt2"
    )
    parser.add_argument("--weights", metavar="PTH", help=text)


def add_device_arguments(parser: argparse.ArgumentParser, batch_size: int = 64) -> None:
    """Add device and batch size."""
    add = parser.add_argument
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1, ... (auto)")
    add("--batch-size", type=int, default=batch_size, metavar="N", help=f"({batch_size})")


def add_speed_arguments(
    parser: argparse.ArgumentParser, shard_size: int, auto: bool = False
) -> None:
    """Add precision (``auto``: or None or "auto"), processes that read, and images of a shard."""
    add = parser.add_argument
    choices, default = ((*PRECISIONS, AUTO), None) if auto else ((*PRECISIONS,), "fp32")
    precision = f"of matrix products: {', '.join(choices)} (fp32)"
    add("--precision", choices=choices, default=default, metavar="NAME", help=precision)
    workers = "processes that read images; 0: none (one per core, at most 8)"
    add("--num-workers", type=int, default=min(8, num_cores()), metavar="N", help=workers)
    shards = "images lost at most when it is killed (%(default)s)"
    add("--shard-size", type=int, default=shard_size, metavar="N", help=shards)


def share(text: str) -> float:
    """Type of an argument that is a share, 0..1."""
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not from 0 to 1")
    return value


def add_max_bad(parser: argparse.ArgumentParser, what: str = "images that cannot be read") -> None:
    """Add the share of bad items with which a result is none."""
    text = f"greatest share of {what}, 0..1; beyond it the command fails ({MOST:g})"
    parser.add_argument("--max-bad", type=share, default=MOST, metavar="SHARE", help=text)


def add_backend_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what computes the features, and how that is chosen."""
    add = parser.add_argument
    backend = f"{', '.join(BACKENDS)}, or auto: the fastest, as measured once (torch)"
    add("--backend", choices=(*BACKENDS, AUTO), metavar="NAME", help=backend)
    add("--remeasure", action="store_true", help="with auto: measure again")


def add_extraction_arguments(parser: argparse.ArgumentParser) -> None:
    """Add how images become features, as extract and search have it."""
    add = parser.add_argument
    add_model_arguments(parser)
    add_speed_arguments(parser, SHARD_SIZE, auto=True)
    add_backend_arguments(parser)
    add("--global-only", action="store_true", help="leave out the parts of JPM: 5 times shorter")
    camera = "0-based camera of images whose list gives none"
    add("--camera", type=int, metavar="N", help=camera)
    add("--overwrite", action="store_true", help="overwrite files made with other settings")
    add_max_bad(parser)
    add_config_arguments(parser)


def add_picture_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the picture's file, see :func:`reid_common.pictures.check_picture_name`, and title."""
    add = parser.add_argument
    add("-o", "--out", type=Path, required=True, metavar="FILE", help=".png, .pdf or .svg")
    add("--title", help="text on top")


def add_images(parser: argparse.ArgumentParser) -> None:
    """Add arguments that say where the images are."""
    names = "data sets, as in DATASETS.NAMES"
    parser.add_argument("--dataset", nargs="+", metavar="NAME", help=names)
    parser.add_argument("--images", metavar="PLACE", help="folder, list, LMDB or tar of images")


def dataset_names(args: argparse.Namespace, default: Sequence[str]) -> list[str]:
    """Data sets of :func:`add_images`, else the default ones."""
    if args.images and args.dataset:
        raise UserError("--images and --dataset are given; leave one of them out")
    return [f"ImageFolder:{args.images}"] if args.images else args.dataset or [*default]


def build_extractor(args: argparse.Namespace, options: Sequence[str] = ()) -> FeatureExtractor:
    """The model of a command line, with more KEY VALUE pairs behind the user's."""
    check_model_is_named(args)
    given = {name: getattr(args, name) for name in EXTRACTOR_OPTIONS if hasattr(args, name)}
    options = [*args.opts, *options]
    return FeatureExtractor(args.config_file, args.weights, options=options, **given)


def check_model_is_named(args: argparse.Namespace) -> None:
    """Raise UserError where there is neither a config nor anything that could have its own."""
    if not args.config_file and not args.weights:
        raise UserError(
            "--config-file is missing: the YAML that the model was trained with; or name a folder "
            "of transreid publish, or an exported file, with --weights"
        )
