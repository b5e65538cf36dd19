#!/usr/bin/env python3
"""Convert weights of any known format into our checkpoint, or ours into a released-format file.

python tools/convert_weights.py transformer_120.pth -o ours.pth \\
    --config-file projects/TransReID/configs/Market1501/vit_transreid_stride.yml
python tools/convert_weights.py ours.pth -o released.pth --to released --config-file ...
"""

from __future__ import annotations

import argparse
import logging
from typing import Any

import reid_core  # noqa: F401  (first: repairs FastReID)
import torch
from fastreid.engine import DefaultTrainer
from fastreid_compat.repairs.checkpoints.checkpoint_files import AtomicPathManager
from reid_common.errors import UserError
from reid_core.config import load_config
from reid_core.run.command_line import show_user_errors
from transreid import resolve_side_information
from transreid.weights.checkpoint import load_recognised
from transreid.weights.formats import read_weights
from transreid.weights.released import to_released

FORMATS = ("ours", "released")


def convert(source: str, out: str, config_file: str, to: str, options: list[str]) -> None:
    """Load a file into the model of a config and write that model.

    Args:
        source: checkpoint of any format that ``load_weights`` knows.
        out: file to write.
        config_file: what the model is; the number of identities is the file's.
        to: "ours" ({"model": state_dict}, for MODEL.WEIGHTS) or "released" (the names of
            damo-cv/TransReID, a bare state dict).
        options: KEY VALUE pairs for the config.

    Raises:
        UserError: the file does not fit the config, or the format cannot hold the model.
    """
    weights = read_weights(source)
    cfg = load_config(config_file, options)
    cfg.MODEL.WEIGHTS = source
    cfg.DATASETS.TESTS = ()  # no data set is needed here
    cfg.MODEL.BACKBONE.PRETRAIN = False
    cfg.MODEL.HEADS.NUM_CLASSES = cfg.MODEL.HEADS.NUM_CLASSES or weights.num_classes
    resolve_side_information(cfg, from_weights=True)
    model = DefaultTrainer.build_model(cfg)
    load_recognised(model, weights)
    state: Any = {key: value.cpu() for key, value in model.state_dict().items()}
    state = to_released(state) if to == "released" else {"model": state}
    with AtomicPathManager.open(out, "wb") as file:
        torch.save(state, file)


@show_user_errors
def main(arguments: argparse.Namespace) -> None:
    """Convert as the command line says."""
    if not arguments.config_file:
        raise UserError("--config-file is needed: the config of the model that the weights are of")
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("transreid").setLevel(logging.INFO)  # the report of what was loaded
    options = arguments.opts
    convert(arguments.weights, arguments.out, arguments.config_file, arguments.to, options)
    print(f"wrote {arguments.out} ({arguments.to})")


def parser() -> argparse.ArgumentParser:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("weights", help="checkpoint of any known format")
    parser.add_argument("-o", "--out", required=True, help="file to write")
    parser.add_argument("--config-file", default="", help="YAML of the model")
    parser.add_argument("--to", choices=FORMATS, default="ours", help="format to write")
    parser.add_argument("opts", nargs="*", default=[], help="KEY VALUE pairs for the config")
    return parser


if __name__ == "__main__":
    main(parser().parse_intermixed_args())  # options before or after the KEY VALUE pairs
