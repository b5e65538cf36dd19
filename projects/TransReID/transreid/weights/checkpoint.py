"""Loading weights of any known format into a model, and saying what happened.

``load_weights`` does it for a model that is there; through FastReID's Checkpointer the same happens
wherever FastReID takes a path (MODEL.WEIGHTS, --eval-only), and for a backbone that is being built
(MODEL.BACKBONE.PRETRAIN_PATH).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastreid_compat.repairs.checkpoints.checkpoints import WEIGHT_ADAPTERS
from reid_common.errors import UserError
from torch import Tensor, nn

from ..modeling.backbone import TransReIDBackbone
from .fitting import (
    CAMERA_TABLE,
    fit_classifiers,
    fit_pos_embed,
    fit_side_information,
    same_cameras,
)
from .formats import (
    BACKBONE,
    GLOBAL_BRANCH,
    LOCAL_BRANCH,
    State,
    Weights,
    num_blocks,
    read_weights,
    recognise,
    with_branches,
    without_branches,
)
from .report import LoadReport, some_keys

MIN_LOADED = 0.9


def load_weights(
    model: nn.Module, path: str, grid: Sequence[int] = (), must_fit: bool = True
) -> LoadReport:
    """Load a checkpoint of any known format (see weights/formats.py) into a built model.

    Another class count drops the classifier, another patch grid resizes the position embeddings,
    other cameras are filled by MODEL.SIE.UNKNOWN; each is logged. Nothing is changed on an error.

    Args:
        model: a model with a TransReIDBackbone as ``backbone``, or such a backbone itself.
        path: checkpoint file.
        grid: (rows, columns) of the file's position embeddings, where it cannot be known from
            their number.
        must_fit: False lets weights through that make less than 90% of the ViT.

    Returns:
        What was loaded, resized, skipped and missing.

    Raises:
        UserError: no such file, not a ViT, another width, depth or stem, unknown grid, or less than
            90% of the ViT's weights in the file.
    """
    return load_recognised(model, read_weights(path), grid, must_fit)


def load_recognised(
    model: nn.Module, weights: Weights, grid: Sequence[int] = (), must_fit: bool = True
) -> LoadReport:
    """As :func:`load_weights`, for weights that are read already."""
    state, report = fitted(model, weights, grid, must_fit)
    if isinstance(model, TransReIDBackbone):
        state = {key.removeprefix(BACKBONE): value for key, value in state.items()}
    model.load_state_dict(state, strict=False)
    report.log()
    return report


def fitted(
    model: nn.Module, weights: Weights, grid: Sequence[int] = (), must_fit: bool = True
) -> tuple[State, LoadReport]:
    """The tensors that ``model`` can take, under its names, and the report.

    Raises:
        UserError: see :func:`load_weights`.
    """
    own, backbone = _own_state(model)
    report = LoadReport(weights.source, weights.kind)
    report.whole = not isinstance(model, TransReIDBackbone)
    state = dict(weights.state)
    _check_architecture(state, own, weights.source)
    if any(key.startswith(GLOBAL_BRANCH) for key in own):
        state = with_branches(state, num_blocks(state))
    else:
        state = without_branches(state)
    fit_pos_embed(state, backbone, tuple(grid), report)
    fit_side_information(state, backbone, report)
    fit_classifiers(state, own, report)

    fitting = {k: v for k, v in state.items() if k in own and v.shape == own[k].shape}
    report.loaded = sorted(fitting)
    report.skipped = sorted(set(state) - set(fitting))
    # The names of the table's rows are the model's own (see SideInformationEmbedding).
    report.missing = sorted(set(own) - set(fitting) - {CAMERA_TABLE})
    vit = [key for key in own if _of_vit(key)]
    arrived = sum(own[key].numel() for key in vit if key in fitting)
    report.share = arrived / sum(own[key].numel() for key in vit)
    # A ViT without one of its blocks, or its patch projection, still has most of its weights.
    hole = [key for key in vit if key not in fitting]
    if must_fit and (report.share < MIN_LOADED or hole):
        raise UserError(
            f"{weights.source!r} does not fit this model: {report.share:.0%} of the ViT's weights "
            f"are in it; missing: {some_keys(hole or report.missing)}. Choose the "
            "MODEL.BACKBONE.TIMM_NAME that the checkpoint was made with"
        )
    return fitting, report


def _own_state(model: nn.Module) -> tuple[State, TransReIDBackbone]:
    if isinstance(model, TransReIDBackbone):
        return {BACKBONE + key: value for key, value in model.state_dict().items()}, model
    backbone = getattr(model, "backbone", None)
    if not isinstance(backbone, TransReIDBackbone):
        raise UserError(
            f"load_weights needs a model with a TransReIDBackbone, not {type(model).__name__}; "
            "load FastReID's own models with fastreid.utils.checkpoint.Checkpointer"
        )
    return model.state_dict(), backbone


def _of_vit(key: str) -> bool:
    if key.startswith(BACKBONE):
        return not key.startswith(BACKBONE + "sie.")
    return key.startswith((GLOBAL_BRANCH, LOCAL_BRANCH))


def _check_architecture(state: State, own: State, source: str) -> None:
    """Raise UserError where the ViTs differ in what cannot be fitted: width, depth, stem."""
    key = BACKBONE + "cls_token"
    theirs, ours = state[key].shape[-1], own[key].shape[-1]
    if theirs != ours:
        raise UserError(
            f"{source!r} is a ViT of {theirs} dimensions, this model has {ours}; choose the "
            "MODEL.BACKBONE.TIMM_NAME (and FEAT_DIM) that the checkpoint was made with"
        )
    stem = BACKBONE + "patch_embed.conv.0.weight"
    theirs, ours = num_blocks(state), num_blocks(own)
    if theirs != ours:
        raise UserError(
            f"{source!r} does not fit this model: it has {theirs} blocks, this model {ours}; "
            "choose its MODEL.BACKBONE.TIMM_NAME (and NUM_BLOCKS)"
        )
    key = BACKBONE + "patch_embed.proj.weight"
    if key in state and state[key].shape != own[key].shape and (stem in state) == (stem in own):
        raise UserError(
            f"{source!r} has patches of {tuple(state[key].shape[2:])}, this model of "
            f"{tuple(own[key].shape[2:])} (weights {tuple(state[key].shape)} and "
            f"{tuple(own[key].shape)}); choose its MODEL.BACKBONE.TIMM_NAME"
        )
    if (stem in state) != (stem in own):
        raise UserError(
            f"{source!r} {'has' if stem in state else 'lacks'} the ICS stem; set "
            f"MODEL.BACKBONE.STEM {'ics' if stem in state else 'patch'}"
        )


def adapt_for_checkpointer(model: nn.Module, state: dict[str, Any], path: str) -> State | None:
    """Weights of another format for FastReID's Checkpointer; None for models of other projects.

    A checkpoint of exactly this model, as in ``--resume``, is left as it is.
    """
    if not isinstance(getattr(model, "backbone", None), TransReIDBackbone):
        return None
    own = model.state_dict()
    same_keys = set(own) == set(state)
    if (
        same_keys
        and all(own[k].shape == getattr(state[k], "shape", None) for k in own)
        and same_cameras(own, state)
    ):
        return state
    tensors = {key: value for key, value in state.items() if isinstance(value, Tensor)}
    fitting, report = fitted(model, recognise(tensors, path))
    report.log()
    return fitting


WEIGHT_ADAPTERS.append(adapt_for_checkpointer)
