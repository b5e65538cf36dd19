"""Checkpoints of the released DINO and iBOT implementations, translated into ours and back.

Source: facebookresearch/dino, bytedance/ibot. A file holds {"student": state dict with ``module.``
in front, "teacher", "optimizer": of AdamW, "epoch": the next one, "args": argparse.Namespace,
"dino_loss": {"center"}, perhaps "fp16_scaler"}. Those of iBOT have "ibot_loss" with "center2" as
well, and with a shared head a second copy of the last layer. The optimizer has two groups, what
decays and what does not, and numbers the parameters of each in the order of the student's state
dict: moments are translated by name here. Iterations are not in the file; schedules follow from the
epoch.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from fastreid.config import CfgNode
from reid_common.errors import UserError
from torch import Tensor, nn

from ..modeling.ibot import IBOT
from ..solver.parameter_groups import parameter_groups, parameter_names

State = dict[str, Any]

NEEDED = ("student", "teacher", "optimizer", "epoch")
SECOND_LAYER = "head.last_layer2."
# Settings of DINO that have the same name on the released command line.
SAME_NAMES = ["out_dim", "norm_last_layer", "warmup_teacher_temp", "teacher_temp"]
SAME_NAMES += ["warmup_teacher_temp_epochs", "weight_decay_end", "freeze_last_layer", "min_lr"]
# What in a config decides about a parameter, for messages.
KEYS = {
    "last_layer": "DINO.OUT_DIM, DINO.BOTTLENECK_DIM",
    "head.": "DINO.HIDDEN_DIM, DINO.BOTTLENECK_DIM",
    "pos_embed": "INPUT.SIZE_TRAIN, MODEL.BACKBONE.STRIDE_SIZE",
    "patch_center": "IBOT.PATCH_OUT_DIM, IBOT.SHARED_HEAD",
    "center": "DINO.OUT_DIM",
    "": "MODEL.BACKBONE.TIMM_NAME, NUM_BLOCKS, STEM",
}


def from_released(content: Any, model: Any, source: str) -> State:
    """Make of a released file's content what our trainer resumes from.

    Args:
        content: of the file.
        model: the meta-architecture, DINO or IBOT, to be resumed; it stays as it is.
        source: the file's name, for messages.

    Returns:
        Content of our checkpoint: "model", "optimizer", "epoch" (the last one that is done), and
        "grad_scaler" if the file has one.

    Raises:
        UserError: it is no DINO checkpoint, lacks what continuing needs, or is of another model.
    """
    method, loss = type(model).__name__, _loss_key(model)
    missing = _missing(content, (*NEEDED, loss))
    if missing:
        raise UserError(
            f"{source!r} is no checkpoint of a {method} run: it lacks {', '.join(missing)}. "
            "Weights alone can start one: MODEL.BACKBONE.PRETRAIN True, "
            "MODEL.BACKBONE.PRETRAIN_PATH FILE"
        )
    state = {
        f"{encoder}.{name.removeprefix('module.')}": value
        for encoder in ("student", "teacher")
        for name, value in content[encoder].items()
        if SECOND_LAYER not in name or not _shares_head(model)
    }
    state["loss.center"] = content[loss]["center"]
    if isinstance(model, IBOT):
        state["patch_center.center"] = content[loss]["center2"].flatten(0, -2)
    _check(model.state_dict(), state, source)
    names = parameter_names(model.student)
    theirs = _in_order_of(list(_part(state, "student.")), names)
    moments = _moments_by_name(content["optimizer"], theirs, model.student, source)
    ours: State = {
        "model": state,
        "optimizer": _numbered(moments, names, model.student),
        "epoch": int(content["epoch"]) - 1,
    }
    if content.get("fp16_scaler"):
        ours["grad_scaler"] = content["fp16_scaler"]
    return ours


def to_released(content: Any, model: Any, cfg: CfgNode, source: str) -> State:
    """Make a file of the released format of our checkpoint; ``cfg`` of the run gives "args".

    Raises:
        UserError: it is no checkpoint of our trainer, or of another model.
    """
    missing = _missing(content, ("model", "optimizer", "epoch"))
    if missing or "loss.center" not in content["model"]:
        raise UserError(
            f"{source!r} is no checkpoint of our DINO trainer: it lacks "
            f"{', '.join(missing) or 'the centre'}; take model_*.pth of a DINO run"
        )
    state = content["model"]
    _check(model.state_dict(), state, source)
    student = _part(state, "student.")
    names = parameter_names(model.student)
    moments = _moments_by_name(content["optimizer"], names, model.student, source)
    patches = getattr(model.student.backbone, "patch_embed", None)
    released: State = {
        "student": {f"module.{k}": v for k, v in _with_second_layer(student, model).items()},
        "teacher": _with_second_layer(_part(state, "teacher."), model),
        "optimizer": _numbered(moments, _in_order_of(list(student), names), model.student),
        "epoch": int(content["epoch"]) + 1,
        "args": released_arguments(cfg, getattr(patches, "patch_size", (0,))[0]),
        _loss_key(model): {"center": state["loss.center"]},
    }
    if isinstance(model, IBOT):
        released["ibot_loss"]["center2"] = state["patch_center.center"][None]
    if "grad_scaler" in content:
        released["fp16_scaler"] = content["grad_scaler"]
    return released


def released_arguments(cfg: CfgNode, patch_size: int) -> argparse.Namespace:
    """A run's settings under the names of the released command line; patch_size 0 for a CNN."""
    solver, options, backbone = cfg.SOLVER, cfg.DINO, cfg.MODEL.BACKBONE
    return argparse.Namespace(
        arch=backbone.get("TIMM_NAME", backbone.NAME).partition("_patch")[0],
        patch_size=patch_size,
        **{name: options[name.upper()] for name in SAME_NAMES},
        use_bn_in_head=False,
        momentum_teacher=options.MOMENTUM,
        use_fp16=solver.AMP.ENABLED,
        weight_decay=solver.WEIGHT_DECAY,
        clip_grad=options.CLIP_GRADIENT,
        batch_size_per_gpu=solver.IMS_PER_BATCH,  # as if of one process
        epochs=solver.MAX_EPOCH,
        lr=solver.BASE_LR,
        warmup_epochs=solver.WARMUP_EPOCHS,
        optimizer="adamw",
        drop_path_rate=backbone.DROP_PATH_RATIO,
        global_crops_scale=tuple(options.GLOBAL_SCALE),
        local_crops_number=options.LOCAL_VIEWS,
        local_crops_scale=tuple(options.LOCAL_SCALE),
        seed=cfg.get("SEED", -1),
    )


def _loss_key(model: Any) -> str:
    return "ibot_loss" if isinstance(model, IBOT) else "dino_loss"


def _shares_head(model: Any) -> bool:
    return getattr(model.student.head, "last_layer2", None) is None


def _with_second_layer(state: Mapping[str, Tensor], model: Any) -> dict[str, Tensor]:
    """Add the copy of a shared last layer that files of iBOT have."""
    copies = {
        key.replace("head.last_layer.", SECOND_LAYER): value
        for key, value in state.items()
        if isinstance(model, IBOT) and _shares_head(model) and "head.last_layer." in key
    }
    return {**state, **copies}


def _missing(content: Any, keys: Sequence[str]) -> list[str]:
    return [key for key in keys if not isinstance(content, Mapping) or key not in content]


def _part(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): value for k, value in state.items() if k.startswith(prefix)}


def _in_order_of(order: list[str], names: Sequence[list[str]]) -> list[list[str]]:
    """The same groups of names, each in another order."""
    return [[name for name in order if name in set(group)] for group in names]


def _moments_by_name(
    optimizer: Mapping[str, Any], names: Sequence[list[str]], student: nn.Module, source: str
) -> dict[str, State]:
    """State of AdamW by the parameter's name, from a state dict whose groups have ``names``."""
    groups = [group["params"] for group in optimizer["param_groups"]]
    found, wanted = ([len(group) for group in x] for x in (groups, names))
    if found != wanted:
        raise UserError(
            f"the optimizer in {source!r} has groups of {found} parameters, the config's {wanted}; "
            "is DINO.NORM_LAST_LAYER (norm_last_layer), or what is frozen, another?"
        )
    shapes = {name: parameter.shape for name, parameter in student.named_parameters()}
    moments = {}
    for numbers, group in zip(groups, names, strict=True):
        for number, name in zip(numbers, group, strict=True):
            state = optimizer["state"].get(number)
            if state is None:  # it had no gradient yet: the last layer in the first epoch
                continue
            shape = list(getattr(state.get("exp_avg"), "shape", ()))
            if shape != list(shapes[name]):
                raise UserError(
                    f"the optimizer in {source!r} has moments of shape {shape} for {name}, which "
                    f"is {list(shapes[name])}; only AdamW's of that format can be taken over"
                )
            moments[name] = state
    return moments


def _numbered(
    moments: Mapping[str, State], names: Sequence[list[str]], student: nn.Module
) -> State:
    """State dict of an AdamW whose groups have these names; rates are set in each step."""
    optimizer = torch.optim.AdamW(parameter_groups(student, 0.0), lr=0.0).state_dict()
    flat = [name for group in names for name in group]
    optimizer["state"] = {n: moments[name] for n, name in enumerate(flat) if name in moments}
    return optimizer


def _check(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor], source: str) -> None:
    """Raise UserError with the first difference in names or shapes."""
    shapes = [{name: list(value.shape) for name, value in x.items()} for x in (wanted, found)]
    for name in dict.fromkeys([*wanted, *found]):
        ours, theirs = (shape.get(name, "missing") for shape in shapes)
        if ours != theirs:
            keys = next(keys for part, keys in KEYS.items() if part in name)
            raise UserError(
                f"{source!r} is of another model than the config: {name} is {theirs} in the file, "
                f"{ours} in the model; see {keys}"
            )
