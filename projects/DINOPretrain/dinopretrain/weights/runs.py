"""Runs of DINO or iBOT from checkpoints of the released code, and the other way round."""

from __future__ import annotations

from pathlib import Path

import torch
from fastreid.config import CfgNode
from fastreid.modeling import build_model
from fastreid_compat.repairs.checkpoints.checkpoint_files import AtomicPathManager, read_file
from reid_common.errors import UserError
from reid_common.files import LAST_CHECKPOINT, was_begun
from reid_core.run.validation import check_output_dir

from ..engine.trainer import check_dino_config
from ..methods import is_contrastive
from .released import from_released, to_released


def convert(checkpoint: str, to: str, out: str, cfg: CfgNode) -> str:
    """Convert a checkpoint of the released format ``to`` "ours", or ours to "released".

    Args:
        checkpoint: file.
        to: "ours" writes a run that can be resumed, "released" a file.
        out: folder of the run ("": OUTPUT_DIR), or the file.
        cfg: config of the run.

    Returns:
        What was done, in words.

    Raises:
        UserError: the file does not fit the config, or cannot be written there.
    """
    check_dino_config(cfg)
    if is_contrastive(cfg):
        raise UserError(
            f"MODEL.META_ARCHITECTURE is {cfg.MODEL.META_ARCHITECTURE}; runs of DINO and IBOT "
            "alone can be converted. The backbone of a released checkpoint of MoCo or MoBY is "
            "taken by MODEL.BACKBONE.PRETRAIN_PATH as it is"
        )
    if to == "ours":
        return write_run(checkpoint, Path(out or cfg.OUTPUT_DIR), cfg)
    if not out:
        raise UserError("-o is needed: the file to write")
    released = to_released(read_file(checkpoint), model_of(cfg), cfg, checkpoint)
    with AtomicPathManager.open(out, "wb") as file:
        torch.save(released, file)
    return f"wrote {out}: released format, next epoch {released['epoch']}"


def model_of(cfg: CfgNode) -> torch.nn.Module:
    """The DINO or iBOT model of a config, on the CPU, as initialised."""
    cfg = cfg.clone()
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.BACKBONE.PRETRAIN = False
    return build_model(cfg)


def write_run(source: str, folder: Path, cfg: CfgNode) -> str:
    """Write a run that ``--resume`` continues with OUTPUT_DIR ``folder``; see :func:`convert`."""
    if was_begun(folder):
        raise UserError(
            f"{str(folder)!r} has a run already (file {LAST_CHECKPOINT}), which --resume would "
            "continue; give another folder with -o, and to the training as OUTPUT_DIR"
        )
    content = from_released(read_file(source), model_of(cfg), source)
    epoch, total = content["epoch"], cfg.SOLVER.MAX_EPOCH
    name = f"model_{epoch:04d}.pth"
    check_output_dir(str(folder))
    with AtomicPathManager.open(str(folder / name), "wb") as file:
        torch.save(content, file)
    with AtomicPathManager.open(str(folder / LAST_CHECKPOINT), "w") as file:
        file.write(name)
    steps = max((int(state["step"]) for state in content["optimizer"]["state"].values()), default=0)
    return (
        f"wrote {folder / name}: {epoch + 1} epochs in {steps} steps are done; --resume with "
        f"OUTPUT_DIR {folder} continues with epoch {epoch + 1} (from 0) of {total}"
    )
