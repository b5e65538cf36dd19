"""Loading weights of any known format into a model, and saying what happened.

``load_weights`` does it for a model that is there; through FastReID's Checkpointer the same happens
wherever FastReID takes a path (MODEL.WEIGHTS, --eval-only), and for a backbone that is being built
(MODEL.BACKBONE.PRETRAIN_PATH).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastreid_compat.repairs.checkpoints.backbone_weights import MIN_LOADED, is_head
from fastreid_compat.repairs.checkpoints.checkpoints import WEIGHT_ADAPTERS
from fastreid_compat.repairs.checkpoints.load_report import LoadReport, some_keys
from reid_common.errors import UserError
from torch import nn

from ..modeling.backbone import TransReIDBackbone
from .fitting import (
    CAMERA_TABLE,
    TRAINED_ROWS,
    check_architecture,
    fit,
    same_cameras,
    with_record,
)
from .formats import BACKBONE, BRANCHES, SIE, State, Weights, read_weights, recognise
from .reading import check_reading


def load_weights(model: nn.Module, path: str | Weights, grid: Sequence[int] = ()) -> LoadReport:
    """Load a checkpoint of any known format (see weights/formats.py) into a built model.

    Another class count drops the classifier, another patch grid resizes the position embeddings,
    other cameras are filled by MODEL.SIE.UNKNOWN; each is logged. Nothing is changed on an error.

    Args:
        model: a model with a TransReIDBackbone as ``backbone``, or such a backbone itself.
        path: checkpoint file, or what was read of one.
        grid: (rows, columns) of the file's position embeddings, where it cannot be known from
            their number.

    Raises:
        UserError: no such file, not a ViT, another width, depth or stem, unknown grid, less than
            90% of the ViT's weights in the file, or parts of a ViT that this one does not have.
    """
    weights = path if isinstance(path, Weights) else read_weights(path)
    state, report = fitted(model, weights, grid)
    if isinstance(model, TransReIDBackbone):
        state = {key.removeprefix(BACKBONE): value for key, value in state.items()}
    model.load_state_dict(state, strict=False)
    report.log()
    return report


def fitted(
    model: nn.Module, weights: Weights, grid: Sequence[int] = ()
) -> tuple[State, LoadReport]:
    """The tensors that ``model`` can take, under its names, and the report.

    Raises:
        UserError: see :func:`load_weights`.
    """
    own, backbone = _own_state(model)
    whole = not isinstance(model, TransReIDBackbone)
    report = LoadReport(weights.source, weights.kind, whole=whole)
    check_architecture(weights.state, own, weights.source)
    what = f"{weights.source!r} ({weights.kind})"
    check_reading(weights.reading, model, backbone, what)
    state = fit(weights.state, own, backbone, grid, report, weights.reading.part_tokens)
    fitting = {k: v for k, v in state.items() if k in own and v.shape == own[k].shape}
    report.loaded = sorted(fitting)
    report.skipped = sorted(set(state) - set(fitting))
    # The names of the table's rows are the model's own (see SideInformationEmbedding).
    report.missing = sorted(set(own) - set(fitting) - {CAMERA_TABLE, TRAINED_ROWS})
    vit = [key for key in own if key.startswith((BACKBONE, *BRANCHES)) and not key.startswith(SIE)]
    arrived = sum(own[key].numel() for key in vit if key in fitting)
    report.share = arrived / sum(own[key].numel() for key in vit)
    # A ViT without one of its blocks, or its patch projection, still has most of its weights.
    hole = [key for key in vit if key not in fitting]
    if report.share < MIN_LOADED or hole:
        raise UserError(
            f"{weights.source!r} does not fit this model: {report.share:.0%} of the ViT's weights "
            f"are in it; missing: {some_keys(hole or report.missing)}. Choose the "
            "MODEL.BACKBONE.TIMM_NAME that the checkpoint was made with"
        )
    check_all_used(report)
    return fitting, report


def check_all_used(report: LoadReport) -> None:
    """Raise UserError where a part of the file's ViT is not in the model, and would be left out.

    Layer scale, norms of queries and keys, tokens of parts or registers change what every layer
    after them computes. Heads and classifiers follow the ViT, and may be left out.
    """
    vit = [key for key in report.skipped if key.startswith(BACKBONE)]
    unused = [key for key in vit if not is_head(key.removeprefix(BACKBONE))]
    unused += [key for key in report.skipped if key.startswith(BRANCHES)]
    if unused:
        raise UserError(
            f"{report.source!r} does not fit this model: its ViT has parts that this one lacks, "
            f"without which it computes something else: {some_keys(unused)} ({len(unused)} "
            "tensors). Choose the MODEL.BACKBONE.TIMM_NAME that the checkpoint was made with (one "
            "with layer scale, registers or norms of queries and keys, say)"
        )


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


def adapt_for_checkpointer(model: nn.Module, state: dict[str, Any], path: str) -> State | None:
    """Weights of another format for FastReID's Checkpointer; None for models of other projects.

    A checkpoint of exactly this model, as in ``--resume``, is left as it is.
    """
    if not isinstance(getattr(model, "backbone", None), TransReIDBackbone):
        return None
    own = model.state_dict()
    known = with_record(state, own)
    same_shapes = all(own[k].shape == getattr(known.get(k), "shape", None) for k in own)
    if same_shapes and len(own) == len(known) and same_cameras(own, known):
        return known
    fitting, report = fitted(model, recognise(state, path))
    report.log()
    return fitting


WEIGHT_ADAPTERS.append(adapt_for_checkpointer)
