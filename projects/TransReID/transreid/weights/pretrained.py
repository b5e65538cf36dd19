"""Pretrained backbone weights: timm, DeiT, DINO, released TransReID and our own checkpoints."""

from __future__ import annotations

import logging
import os
import pickle
import re
from typing import TYPE_CHECKING

import timm
import torch
from fastreid_compat.errors import UserError
from fastreid_compat.pretrained import training_arguments_allowed
from torch import Tensor

from .patch_embed import resize_pos_embed
from .released import from_released

if TYPE_CHECKING:
    from .backbone import TransReIDBackbone

logger = logging.getLogger(__name__)

State = dict[str, Tensor]

# Containers that checkpoints put around a state dict. Of a DINO checkpoint the teacher is wanted.
CONTAINERS = ("teacher", "model", "state_dict")
# What stands in front of the backbone's keys: DINO's and our own, timm's under DataParallel.
PREFIXES = ("module.backbone.", "backbone.", "module.")
# Where a JPM model keeps the trained last block and norm, which the backbone has given away.
BRANCH = "heads.global_branch."
# Parts of a pretrained model that a ReID backbone does not have.
IGNORED = ("head.", "head_dist.", "fc.", "fc_norm.", "pre_logits.", "dist_token", "head_drop.")
MIN_LOADED = 0.9


def load_pretrained(
    backbone: TransReIDBackbone, path: str, grid: tuple[int, int] | None = None
) -> None:
    """Load backbone weights from a file, position embeddings resized to this backbone's grid.

    Args:
        backbone: filled in place.
        path: any format that :func:`read_backbone_state` knows.
        grid: (rows, columns) of the position embeddings in the file; None = the grid of the timm
            model (14x14 for 224 / 16), if it has as many patches.

    Raises:
        UserError: no such file, not a checkpoint, another architecture, unknown grid.
    """
    _load_state(backbone, read_backbone_state(path), grid, path)


def load_timm_pretrained(backbone: TransReIDBackbone, name: str) -> None:
    """Load timm's own pretrained weights for the model ``name``, from its cache or the hub.

    Raises:
        UserError: timm has no weights of that name, or they are not cached and cannot be
            downloaded.
    """
    try:
        vit = timm.create_model(name, pretrained=True, num_classes=0)
    except Exception as error:  # timm and huggingface_hub raise a dozen types when offline
        raise UserError(
            f"timm cannot give pretrained weights for {name!r}: {error}. Without a network, "
            "download them elsewhere and set MODEL.BACKBONE.PRETRAIN_PATH, or train from scratch "
            "with MODEL.BACKBONE.PRETRAIN False"
        ) from error
    state = {key: value.detach() for key, value in vit.state_dict().items()}
    _load_state(backbone, state, None, f"timm {name}")


def read_backbone_state(path: str) -> State:
    """Read the backbone's weights from a checkpoint, under timm's names.

    Knows bare state dicts (timm, DeiT), "model" and "state_dict" containers, DINO's {"student",
    "teacher", ...} (the teacher is taken), released TransReID (``base.``) and our own checkpoints
    (``backbone.``), each with or without ``module.``. Nothing but tensors and the
    ``argparse.Namespace`` of DINO's checkpoints is unpickled.

    Raises:
        UserError: no such file, or nothing in it that could be a ViT.
    """
    if not os.path.isfile(path):
        raise UserError(
            f"MODEL.BACKBONE.PRETRAIN_PATH: {path!r} does not exist; give the path of a "
            "checkpoint, or set MODEL.BACKBONE.PRETRAIN False to train from scratch"
        )
    try:
        with training_arguments_allowed():
            state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise UserError(f"{path!r} is not a checkpoint that can be read safely: {error}") from error
    for container in CONTAINERS:
        if isinstance(state, dict) and isinstance(state.get(container), dict):
            state = state[container]
    if not isinstance(state, dict):
        raise UserError(f"{path!r} holds a {type(state).__name__}, not a state dict")
    if any(key.removeprefix("module.").startswith("base.") for key in state):
        state = from_released(state)
    last_block_and_norm = _of_global_branch(state)
    for prefix in PREFIXES:
        inside = {
            key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)
        }
        if "patch_embed.proj.weight" in inside:
            state = {**inside, **last_block_and_norm}
            break
    if "patch_embed.proj.weight" not in state:
        raise UserError(
            f"{path!r} holds no ViT: no patch_embed.proj.weight, bare or behind "
            f"{', '.join(PREFIXES)} or base.; its first keys are "
            f"{', '.join(list(map(str, state))[:5])}"
        )
    return {key: value for key, value in state.items() if not key.startswith(IGNORED)}


def _of_global_branch(state: State) -> State:
    """Last block and norm of a JPM model under timm's names; empty for models without JPM."""
    branch = {
        key.removeprefix("module.")[len(BRANCH) :]: value
        for key, value in state.items()
        if key.removeprefix("module.").startswith(BRANCH)
    }
    blocks = [int(m[1]) for key in state if (m := re.search(r"backbone\.blocks\.(\d+)\.", key))]
    last = f"blocks.{max(blocks, default=-1) + 1}."
    return {
        last + key.removeprefix("block.") if key.startswith("block.") else key: value
        for key, value in branch.items()
    }


def _load_state(
    backbone: TransReIDBackbone, state: State, grid: tuple[int, int] | None, source: str
) -> None:
    """Copy what fits, log what does not, refuse when less than 90% of the parameters arrive."""
    own = backbone.state_dict()
    wanted = {key for key in own if not key.startswith("sie.")}
    resized = []
    if "pos_embed" in state:
        fitted = _fit_pos_embed(backbone, state["pos_embed"], grid, source)
        if fitted.shape != state["pos_embed"].shape:
            resized = ["pos_embed"]
        state = {**state, "pos_embed": fitted}
    matching = {
        key: state[key] for key in wanted if key in state and state[key].shape == own[key].shape
    }
    wrong_shape = [key for key in sorted(wanted) if key in state and key not in matching]
    missing = sorted(wanted - set(state))
    skipped = sorted(set(state) - wanted)
    share = sum(own[k].numel() for k in matching) / sum(own[k].numel() for k in wanted)
    report = (
        f"{len(matching)} tensors loaded ({share:.0%} of the backbone's weights), "
        f"{len(resized)} resized ({_some(resized)}), {len(wrong_shape)} of another shape "
        f"({_some(wrong_shape)}), {len(missing)} missing ({_some(missing)}), {len(skipped)} "
        f"skipped ({_some(skipped)})"
    )
    # A ViT without one of its blocks or its norm still has most of its weights.
    hole = any(key.startswith(("blocks.", "norm.")) for key in missing)
    if share < MIN_LOADED or hole:
        example = (
            f"; {wrong_shape[0]}: {_shapes(state, own, wrong_shape[0])}" if wrong_shape else ""
        )
        raise UserError(
            f"{source!r} does not fit this backbone: {report}{example}. "
            "Choose the MODEL.BACKBONE.TIMM_NAME that the checkpoint was made with"
        )
    backbone.load_state_dict(matching, strict=False)
    logger.info("Pretrained weights from %s: %s", source, report)


def _fit_pos_embed(
    backbone: TransReIDBackbone, pos_embed: Tensor, grid: tuple[int, int] | None, source: str
) -> Tensor:
    """Drop the distillation token's row, resize to the backbone's grid.

    Without a grid it is that of the timm model, or this backbone's own if the file has exactly as
    many patches and the timm model has not: weights that were fine-tuned at this size and stride.
    """
    prefix = backbone.num_prefix_tokens if backbone.pos_embed_has_prefix else 0
    own = backbone.patch_embed.grid_size
    patches = pos_embed.shape[1] - prefix
    candidates = [grid] if grid else [backbone.pretrained_grid, own]
    for rows, columns in candidates:
        if patches == rows * columns:
            return resize_pos_embed(pos_embed, (rows, columns), own, prefix)
        if prefix == 1 and patches == rows * columns + 1:
            # Distilled DeiT: row 1 belongs to the distillation token.
            without = torch.cat([pos_embed[:, :1], pos_embed[:, 2:]], dim=1)
            return resize_pos_embed(without, (rows, columns), own, prefix)
    expected = " or ".join(f"{rows}x{columns}" for rows, columns in candidates)
    raise UserError(
        f"{source!r} has position embeddings for {patches} patches, not for a grid of {expected}; "
        "set MODEL.BACKBONE.PRETRAIN_GRID to its (rows, columns), (16, 8) for LUPerson's weights"
    )


def _some(keys: list[str], count: int = 3) -> str:
    return ", ".join(keys[:count]) + (", ..." if len(keys) > count else "") if keys else "none"


def _shapes(state: State, own: State, key: str) -> str:
    return f"{tuple(state[key].shape)} in the file, {tuple(own[key].shape)} here"
