#!/usr/bin/env python3
"""Go on from a checkpoint of the released DINO implementation, or write ours in its format.

CONFIG=projects/DINOPretrain/configs/LUPerson/vit_small.yml
python tools/convert_dino.py checkpoint0020.pth --config-file $CONFIG
python tools/train_net.py --config-file $CONFIG --resume

python tools/convert_dino.py logs/LUPerson/dino_vit_small/model_0019.pth --to released \\
    -o checkpoint0020.pth --config-file $CONFIG
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from dinopretrain.config import check_dino_config
from dinopretrain.weights.released import from_released, to_released
from fastreid.config import CfgNode
from fastreid.modeling import build_model
from fastreid_compat.repairs.checkpoints.checkpoint_files import AtomicPathManager, read_file
from reid_common.errors import UserError
from reid_core.config import load_config
from reid_core.run.command_line import show_user_errors
from reid_core.run.validation import check_output_dir

LAST = "last_checkpoint"


def model_of(cfg: CfgNode) -> torch.nn.Module:
    """The DINO model of a config, on the CPU, as initialised."""
    cfg = cfg.clone()
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.BACKBONE.PRETRAIN = False
    return build_model(cfg)


def to_ours(source: str, folder: Path, cfg: CfgNode) -> str:
    """Write what ``--resume`` goes on from; returns what was done, in words.

    Args:
        source: file of the released format.
        folder: OUTPUT_DIR of the run that shall go on.
        cfg: its config.

    Raises:
        UserError: the file does not fit the config, or the folder has a run already.
    """
    if (folder / LAST).exists():
        raise UserError(
            f"{str(folder)!r} has a run already (file {LAST}), which --resume would go on with; "
            "give another folder with -o, and to the training as OUTPUT_DIR"
        )
    content = from_released(read_file(source), model_of(cfg), source)
    epoch, total = content["epoch"], cfg.SOLVER.MAX_EPOCH
    name = f"model_{epoch:04d}.pth"
    check_output_dir(str(folder))
    with AtomicPathManager.open(str(folder / name), "wb") as file:
        torch.save(content, file)
    with AtomicPathManager.open(str(folder / LAST), "w") as file:
        file.write(name)
    steps = max((int(state["step"]) for state in content["optimizer"]["state"].values()), default=0)
    return (
        f"wrote {folder / name}: {epoch + 1} epochs in {steps} steps are done; --resume with "
        f"OUTPUT_DIR {folder} goes on with epoch {epoch + 1} (from 0) of {total}"
    )


@show_user_errors
def main(arguments: argparse.Namespace) -> None:
    """Convert as the command line says."""
    if not arguments.config_file:
        raise UserError("--config-file is needed: the config of the run that the checkpoint is of")
    cfg = load_config(arguments.config_file, arguments.opts)
    check_dino_config(cfg)
    if arguments.to == "ours":
        print(to_ours(arguments.checkpoint, Path(arguments.out or cfg.OUTPUT_DIR), cfg))
        return
    if not arguments.out:
        raise UserError("-o is needed: the file to write")
    content = read_file(arguments.checkpoint)
    released = to_released(content, model_of(cfg), cfg, arguments.checkpoint)
    with AtomicPathManager.open(arguments.out, "wb") as file:
        torch.save(released, file)
    print(f"wrote {arguments.out}: released format, next epoch {released['epoch']}")


def parser() -> argparse.ArgumentParser:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", help="file of the released format, or ours for --to released")
    parser.add_argument(
        "-o", "--out", default="", help="folder of the run (default: its OUTPUT_DIR), or file"
    )
    parser.add_argument("--config-file", default="", help="YAML of the run")
    parser.add_argument("--to", choices=("ours", "released"), default="ours")
    parser.add_argument("opts", nargs="*", default=[], help="KEY VALUE pairs for the config")
    return parser


if __name__ == "__main__":
    main(parser().parse_intermixed_args())  # options before or after the KEY VALUE pairs
