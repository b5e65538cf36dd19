"""What has to be made to fit when weights come from another image size, camera set or class set.

The ``fit_`` functions change the state dict that they are given, and note it in the report.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch
from fastreid_compat.repairs.checkpoints.load_report import LoadReport
from reid_common.errors import UserError
from reid_core.side_information.rows import CameraTable
from reid_core.side_information.stored import decode_table
from reid_core.side_information.trained import INITIAL, RECORD, UNTRAINED, record_of
from torch import Tensor

from ..modeling.backbone import TransReIDBackbone
from ..modeling.patch_embed import resize_pos_embed
from ..modeling.side_embedding import SideInformationEmbedding, added_pairs
from ..modeling.side_unknown import unknown_rows
from .formats import BACKBONE, SIE, State, has_branches, num_blocks, with_branches, without_branches
from .hap import fit_locality
from .part_tokens import fit_part_tokens
from .released import SIE_PARTS, SIE_TABLE

# (rows, columns) of 256x128 images in patches of 16: the published LUPerson weights.
LUPERSON_GRID = (16, 8)
POS_EMBED = BACKBONE + "pos_embed"
CAMERA_TABLE = SIE + "camera_table"
TRAINED_ROWS = SIE + RECORD


def fit(
    given: State,
    own: State,
    backbone: TransReIDBackbone,
    grid: Sequence[int],
    report: LoadReport,
    part_tokens: int = 0,
) -> State:
    """Make a copy of the weights of a file fit a model, whose state dict is ``own``.

    Raises:
        UserError: see the functions below.
    """
    state = dict(with_branches(given) if has_branches(own) else without_branches(given))
    fit_part_tokens(state, backbone, part_tokens, report)
    fit_pos_embed(state, backbone, grid, report)
    fit_side_information(state, backbone, report)
    if report.whole:
        fit_locality(state, own, report)
    fit_classifiers(state, own, report)
    return state


def check_architecture(state: State, own: State, source: str) -> None:
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


def fit_pos_embed(
    state: State, backbone: TransReIDBackbone, grid: Sequence[int], report: LoadReport
) -> None:
    """Drop the distillation token's row, resize to the backbone's grid.

    Without ``grid`` the file's grid is the one of these that has as many patches: PRETRAIN_GRID of
    the config, the timm model's (14x14 for ImageNet), this backbone's (weights fine-tuned at this
    size and stride), LUPerson's 16x8. It is never guessed from a square root.

    Raises:
        UserError: none of the grids has as many patches.
    """
    pos_embed = state.get(POS_EMBED)
    if pos_embed is None:
        return
    prefix = backbone.num_prefix_tokens if backbone.pos_embed_has_prefix else 0
    own = backbone.patch_embed.grid_size
    known = (backbone.weights_grid, backbone.pretrained_grid, own, LUPERSON_GRID)
    candidates = [(g[0], g[1]) for g in ([grid] if grid else known) if g]
    patches = pos_embed.shape[1] - prefix
    for rows, columns in candidates:
        extra = patches - rows * columns
        if extra == 0 or (extra == 1 and prefix == 1):
            # One more: distilled DeiT, whose row 1 belongs to the distillation token.
            kept = torch.cat([pos_embed[:, :prefix], pos_embed[:, prefix + extra :]], dim=1)
            state[POS_EMBED] = resize_pos_embed(kept, (rows, columns), own, prefix)
            if (rows, columns) != tuple(own):
                report.resized.append(POS_EMBED)
                report.notices.append(
                    f"position embeddings resized from {rows}x{columns} to {own[0]}x{own[1]}"
                )
            return
    expected = " or ".join(f"{rows}x{columns}" for rows, columns in dict.fromkeys(candidates))
    raise UserError(
        f"{report.source!r} has position embeddings for {patches} patches, not for a grid of "
        f"{expected}; set MODEL.BACKBONE.PRETRAIN_GRID to its (rows, columns), (16, 8) for "
        "LUPerson's weights"
    )


def fit_side_information(state: State, backbone: TransReIDBackbone, report: LoadReport) -> None:
    """Bring the rows of the file's SIE table into this model's order.

    Cameras are matched by name where both sides name them (our own checkpoints), else by number if
    there are equally many. Rows that the file does not have are what MODEL.SIE.UNKNOWN says: the
    mean of its table, zero, or an error.

    Raises:
        UserError: rows are missing and the policy is "error"; other viewpoints.
    """
    theirs = state.pop(SIE_TABLE, None)
    parts = [state.pop(key) for key in SIE_PARTS if key in state]
    if parts:
        theirs = added_pairs(*parts).flatten(0, 1)
    names = state.pop(CAMERA_TABLE, None)
    stored = {RECORD: state.pop(TRAINED_ROWS)} if TRAINED_ROWS in state else {}
    sie = backbone.sie
    if sie is None and theirs is not None:
        report.notices.append(
            f"SIE table of {len(theirs)} rows left out: MODEL.SIE.CAMERA and VIEW are off"
        )
    elif sie is not None and theirs is None and report.whole:
        # What the file's model did: random rows would give other features in every run.
        _store(state, sie, torch.zeros_like(sie.pairs()))
        state[TRAINED_ROWS] = torch.full_like(sie.trained_rows, INITIAL)
        report.notices.append("the file has no SIE table: all rows are zero, adding nothing")
    if sie is None or theirs is None:
        return
    num_views = max(sie.num_views, 1)
    if len(theirs) % num_views:
        raise UserError(
            f"{report.source!r} has an SIE table of {len(theirs)} rows, which is no multiple of "
            f"MODEL.SIE.NUM_VIEWS = {num_views}; set MODEL.SIE.CAMERA and VIEW as in its training"
        )
    cameras = theirs.unflatten(0, (-1, num_views))
    record = record_of(stored, len(theirs)).unflatten(0, (-1, num_views))
    rows = _rows_of_cameras(sie, len(cameras), "" if names is None else decode_table(names))
    if rows == list(range(len(cameras))):
        state[TRAINED_ROWS] = record.flatten()
        if parts and sie.additive:
            state.update(zip(SIE_PARTS, parts, strict=True))  # digit for digit
        else:
            _store(state, sie, cameras)
        return
    unknown = [camera for camera, row in enumerate(rows) if row < 0]
    if unknown and sie.unknown == "error":
        raise UserError(
            f"{report.source!r} has {len(cameras)} cameras, this model {len(rows)}, of which "
            f"{len(unknown)} are not in the file; set MODEL.SIE.UNKNOWN mean or zero, or "
            "MODEL.SIE.NUM_CAMERAS as in its training"
        )
    substitute = unknown_rows(cameras, record != UNTRAINED, sie.unknown != "mean")[0]
    _store(state, sie, torch.stack([substitute if row < 0 else cameras[row] for row in rows]))
    lacking = torch.full_like(record[0], UNTRAINED)
    state[TRAINED_ROWS] = torch.cat([lacking if row < 0 else record[row] for row in rows])
    report.resized.append(SIE_TABLE)
    report.notices.append(
        f"SIE: {len(cameras)} cameras in the file, {len(rows)} here; {len(unknown)} of them "
        f"without a row in the file (MODEL.SIE.UNKNOWN {sie.unknown})"
    )


def _store(state: State, sie: SideInformationEmbedding, pairs: Tensor) -> None:
    """Put S of each pair (C, V, 1, D) into a state dict in the form of the model's table.

    The additive table nearest to a joint one, by least squares, is the mean of each camera, and of
    each viewpoint less the mean of all.
    """
    if sie.additive:
        views = pairs.mean(0) - pairs.mean((0, 1))
        state.update(zip(SIE_PARTS, (pairs.mean(1), views), strict=True))
    else:
        state[SIE_TABLE] = pairs.flatten(0, 1)


def _rows_of_cameras(sie: SideInformationEmbedding, count: int, names: str) -> list[int]:
    """The file's camera for each camera of this model, negative for none."""
    own_count = max(sie.num_cameras, 1)
    own_names = decode_table(sie.camera_table)
    if own_names and names and (own_names != names or own_count != count):
        own_table = CameraTable.parse(own_names.split(","))
        rows = own_table.rows_in(CameraTable.parse(names.split(",")), count)
        return (rows + [-1] * own_count)[:own_count]  # more rows than the table names
    return list(range(own_count)) if own_count == count else [-1] * own_count


def same_cameras(own: State, state: State) -> bool:
    """Whether the rows of two SIE tables are of the same cameras, as far as both say."""
    if CAMERA_TABLE not in own:
        return True
    ours, theirs = decode_table(own[CAMERA_TABLE]), decode_table(state[CAMERA_TABLE])
    return not ours or not theirs or ours == theirs


def with_record(state: State, own: State) -> State:
    """The state of a checkpoint with the record of trained rows, which older ones do not have."""
    if TRAINED_ROWS not in own or TRAINED_ROWS in state:
        return state
    return {**state, TRAINED_ROWS: record_of({}, len(own[TRAINED_ROWS]))}


def fit_classifiers(state: State, own: State, report: LoadReport) -> None:
    """Drop classifiers for another number of identities."""
    dropped: Counter[tuple[int, int]] = Counter()
    for key in [k for k in state if k.startswith("heads.") and k in own]:
        theirs, ours = state[key].shape, own[key].shape
        if theirs != ours and len(theirs) == 2 and theirs[1:] == ours[1:]:
            del state[key]
            dropped[theirs[0], ours[0]] += 1
    for (theirs_count, ours_count), number in dropped.items():
        left_out = f"{number} classifier(s) of {theirs_count} identities left out"
        report.notices.append(f"{left_out}: this model has {ours_count}")
