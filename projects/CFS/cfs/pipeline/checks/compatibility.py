"""Whether the configs of a pipeline's stages fit together."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from dinopretrain.methods import is_pretraining
from fastreid.config import CfgNode
from fastreid.modeling.backbones import build_backbone
from fastreid_compat.repairs.checkpoints.checkpoint_files import AtomicPathManager
from reid_common.errors import UserError
from transreid import resolve_side_information

from ...scores.selection import number_kept
from ..stages.stage import Stage, errors_of
from ..stages.training import training_size


def check_configs(stages: Mapping[str, Stage]) -> None:
    """Check that source and pretrain need no labels, are on the same data, and sizes agree."""
    names = ("source", "target", "pretrain")
    source, target, pretrain = (stages[name].cfg for name in names)
    for name, cfg in (("source", source), ("pretrain", pretrain)):
        if not is_pretraining(cfg):
            raise UserError(
                f"stage {name}: MODEL.META_ARCHITECTURE is {cfg.MODEL.META_ARCHITECTURE!r}; it "
                f"pre-trains without labels: set {name.upper()}.CONFIG to a config of DINO, or of "
                "another method of projects/DINOPretrain"
            )
    sizes = [list(cfg.INPUT.SIZE_TEST) for cfg in (source, target)]
    if sizes[0] != sizes[1]:
        raise UserError(
            f"INPUT.SIZE_TEST is {sizes[0]} in stage source and {sizes[1]} in stage target; an "
            "image is resized once for both models: make them equal"
        )
    if [*source.DATASETS.NAMES] != [*pretrain.DATASETS.NAMES]:
        raise UserError(
            f"DATASETS.NAMES is {[*source.DATASETS.NAMES]} in stage source and "
            f"{[*pretrain.DATASETS.NAMES]} in stage pretrain; what is selected is the source's: "
            "make them equal"
        )


def check_selection(todo: Sequence[Stage], cfg: CfgNode) -> None:
    """Check that the selection, if still to be made, will fill a batch of pretrain."""
    by_name = {stage.name: stage for stage in todo}
    if "select" not in by_name or "pretrain" not in by_name:
        return
    pretrain = by_name["pretrain"].cfg  # on the same data as source
    kept = number_kept(training_size(pretrain)["images"], cfg.KEEP, cfg.KEEP_NUM)
    if kept < pretrain.SOLVER.IMS_PER_BATCH:
        raise UserError(
            f"stage pretrain: {kept} selected images (KEEP {cfg.KEEP}, KEEP_NUM {cfg.KEEP_NUM}) "
            f"are fewer than one batch, SOLVER.IMS_PER_BATCH = {pretrain.SOLVER.IMS_PER_BATCH}"
        )


def check_weights_fit(stages: Mapping[str, Stage], todo: Sequence[Stage]) -> None:
    """Load random weights as target and finetune will load trained ones."""
    for giver, taker in (("source", "target"), ("pretrain", "finetune")):
        if stages[taker] not in todo:
            continue
        cfg, receiver = stages[giver].cfg.clone(), stages[taker].cfg.clone()
        cfg.MODEL.BACKBONE.PRETRAIN = False
        resolve_side_information(receiver)
        with errors_of(taker), tempfile.TemporaryDirectory() as folder, torch.random.fork_rng():
            path = str(Path(folder) / f"backbone of stage {giver}.pth")
            with AtomicPathManager.open(path, "wb") as file:
                torch.save(build_backbone(cfg).state_dict(), file)
            receiver.MODEL.BACKBONE.PRETRAIN_PATH = path
            build_backbone(receiver)
