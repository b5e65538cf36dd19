"""Whether the disk holds what a pipeline will write; nearly all of that are checkpoints."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from dinopretrain.methods import is_contrastive, is_pretraining
from fastreid.config import CfgNode
from reid_common.errors import UserError

from ..operations import random_backbone
from ..stages.stage import Stage

MARGIN = 2**30  # bytes that are left free


def check_space(todo: Sequence[Stage], folder: Path) -> None:
    """Raise UserError if the disk does not hold the checkpoints, roughly."""
    needed = {}
    for stage in todo:
        if stage.trains:  # a resumed one does not write again what is there
            written = sum(x.stat().st_size for x in (folder / stage.name).glob("*.pth"))
            needed[stage.name] = max(0, checkpoint_bytes(stage.cfg) - written)
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    if sum(needed.values()) + MARGIN > free:
        sizes = ", ".join(f"{name} {size / 2**30:.1f}" for name, size in needed.items())
        raise UserError(
            f"{str(folder)!r}: {free / 2**30:.1f} GiB are free, the checkpoints need about "
            f"{sum(needed.values()) / 2**30:.1f} ({sizes}). Raise SOLVER.CHECKPOINT_PERIOD, as in "
            "ALL.SOLVER.CHECKPOINT_PERIOD 10, or choose an OUTPUT_DIR on another disk"
        )


def checkpoint_bytes(cfg: CfgNode) -> int:
    """Bytes of all checkpoints of a training, roughly; classifiers are not counted.

    Raises:
        UserError: SOLVER.CHECKPOINT_PERIOD is below 1.
    """
    period = cfg.SOLVER.CHECKPOINT_PERIOD
    if period < 1:
        raise UserError(f"SOLVER.CHECKPOINT_PERIOD is {period}; set a number of epochs, 1 or more")
    with torch.device("meta"):  # without the small table of cameras, of a size yet to be known
        weights = sum(p.numel() for p in random_backbone(cfg).parameters())
    if is_contrastive(cfg):
        moco = cfg.MOCO  # roughly: projector, predictor, queue
        weights += moco.HIDDEN_DIM * (cfg.MODEL.BACKBONE.FEAT_DIM + 3 * moco.OUT_DIM)
        weights += moco.OUT_DIM * moco.QUEUE_SIZE
    elif is_pretraining(cfg):
        dino = cfg.DINO
        weights += cfg.MODEL.BACKBONE.FEAT_DIM * dino.HIDDEN_DIM + dino.HIDDEN_DIM**2
        weights += (dino.HIDDEN_DIM + dino.OUT_DIM) * dino.BOTTLENECK_DIM
    # The weights, the optimizer's averages, of pre-training also the encoder that follows
    copies = (3 if cfg.SOLVER.OPT.startswith("Adam") else 2) + is_pretraining(cfg)
    files = cfg.SOLVER.MAX_EPOCH // period + 2
    return 4 * weights * copies * files
