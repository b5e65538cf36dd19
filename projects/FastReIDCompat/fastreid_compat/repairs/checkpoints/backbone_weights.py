"""Pretrained weights of any known form for a backbone, judged: what arrived, what did not.

FastReID loads them with ``strict=False``: a file with other names trains a random network. Here
the names are found by what agrees with the backbone behind one common prefix (``module.``,
``backbone.`` of DINO's teacher, ``module.encoder_q.`` of MoCo), and a file that holds less than 90%
of the backbone, or parts of it that the backbone does not have, is refused.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fastreid.modeling.backbones import vision_transformer
from reid_common.errors import UserError
from torch import Tensor, nn

from .load_report import LoadReport, some_keys

MIN_LOADED = 0.9
# First parts of names of what follows a backbone, or trains it: no part of the backbone itself.
HEAD = re.compile(
    r"(?i)(^|_)(heads?|fc\d*|linear|(aux)?logits|proj|bottleneck|neck|mlp|ema|aux|loss|epoch|step"
    r"|dist_token|mask_token|masked_embed|pixel_(mean|std))(_|$)|classifier|projection|projector|predict|prototype"
    r"|queue|memory|center|optimizer|decoder|student|momentum|encoder_k|target|averaged"
)
# Copies of a network that are not the ones to start from: MoCo's, BYOL's, a mean teacher's.
SECOND_CHOICE = re.compile(r"encoder_k|key_encoder|momentum|target|student")
# What a backbone has beyond the weights of its kind, and learns from scratch: non-local blocks
# (zero at first), squeeze and excitation, MobileNetV3's last convolution.
NEW_PARTS = {"": re.compile(r"NL_\d|.*\.se\."), "MobileNetV3": re.compile(r"conv\.")}
HINTS = {  # part of a name -> what to set where only one side has it
    ".IN.": "MODEL.BACKBONE.WITH_IBN",
    ".se.": "MODEL.BACKBONE.WITH_SE",
    "NL_": "MODEL.BACKBONE.WITH_NL",
}


def is_head(name: str) -> bool:
    """Whether a tensor of this name, without any prefix, is of a head, an optimizer or the like."""
    return HEAD.search(name.partition(".")[0]) is not None


def load_backbone(
    backbone: nn.Module, state: Mapping[str, Any], source: str, complete: bool = True
) -> LoadReport:
    """Load weights into a backbone, under its names, and log a table of what became of them.

    Args:
        state: names, with any prefix -> tensors.
        source: where they come from, for messages.
        complete: refuse weights that lack any part of the backbone, or have parts that it lacks.

    Raises:
        UserError: they are of another network. Nothing is changed then.
    """
    own = backbone.state_dict()
    prefix, given = without_prefix(state, own)
    kind = f"names behind {prefix!r}" if prefix else "bare names"
    report = LoadReport(source, kind, network=type(backbone).__name__)
    behind = f"{len(state) - len(given)} tensors that are not behind {prefix!r}"
    if len(given) < len(state):
        report.notices.append(f"{behind} left out")
    for fit in FITTED:
        fit(given, backbone, report)
    fitting = {k: v for k, v in given.items() if k in own and v.shape == own[k].shape}
    report.loaded = sorted(fitting)
    report.skipped = sorted(set(given) - set(fitting))
    report.missing = sorted(key for key in set(own) - set(fitting) if not _is_counter(key))
    judge(report, own, given, not complete, not complete)
    backbone.load_state_dict(fitting, strict=False)
    report.log()
    return report


def without_prefix(
    state: Mapping[str, Any], own: Mapping[str, Tensor]
) -> tuple[str, dict[str, Tensor]]:
    """The prefix behind which a file has most of the backbone ``own``, and what is behind it."""
    tensors = {str(key): value for key, value in state.items() if isinstance(value, Tensor)}
    found: Counter[str] = Counter()
    for key, value in tensors.items():
        parts = key.split(".")
        for start in range(len(parts)):
            name = ".".join(parts[start:])
            if name in own and own[name].shape == value.shape:
                found[key.removesuffix(name)] += max(value.numel(), 1)
    best = max(found.values(), default=0)
    prefix = first_choice([prefix for prefix, count in found.items() if count == best] or [""])
    behind = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    return prefix, behind


def first_choice(prefixes: Sequence[str]) -> str:
    """Of the prefixes of several copies of a network, that of the one to start from."""
    return min(prefixes, key=lambda prefix: SECOND_CHOICE.search(prefix) is not None)


def _is_counter(key: str) -> bool:
    return key.endswith("num_batches_tracked")  # which no file of torch < 0.4.1 has


def judge(
    report: LoadReport,
    own: Mapping[str, Tensor],
    given: Mapping[str, Tensor],
    lacking_allowed: bool = False,
    foreign_allowed: bool = False,
) -> None:
    """Fill in ``report.share``; raise UserError where the weights are of another network.

    Args:
        report: with what is skipped of ``given``, and missing of ``own``.
        own: the backbone's tensors.
        given: those of the file, under the same names.
        lacking_allowed: up to 10% of the backbone may be missing.
        foreign_allowed: the file may have parts of a backbone that this one does not have.
    """
    new = [pattern for name, pattern in NEW_PARTS.items() if name in ("", report.network)]
    missing = [key for key in report.missing if not _is_counter(key)]
    begun = [key for key in missing if any(pattern.match(key) for pattern in new)]
    lacking = [key for key in own if key in missing and key not in begun]
    wanted = [k for k in own if not _is_counter(k) and not any(p.match(k) for p in new)]
    total = sum(own[key].numel() for key in wanted)
    report.share = 1 - sum(own[key].numel() for key in lacking) / max(total, 1)
    if begun:
        report.notices.append(f"starts from random weights: {some_keys(begun)}")
    unread = [key for key in report.skipped if key not in own and not is_head(key)]
    foreign = [key for key in unread if not _is_counter(key)]
    refused = (lacking and not lacking_allowed) or (foreign and not foreign_allowed)
    if report.share >= MIN_LOADED and not refused:
        report.whole = bool(missing or foreign)  # said as a warning
        return
    raise _other_backbone(report, own, given, lacking, foreign)


def _other_backbone(
    report: LoadReport,
    own: Mapping[str, Tensor],
    given: Mapping[str, Tensor],
    lacking: Sequence[str],
    foreign: Sequence[str],
) -> UserError:
    names = [key for key in (*lacking, *foreign) for hint in HINTS if hint in key]
    settings = dict.fromkeys(HINTS[hint] for name in names for hint in HINTS if hint in name)
    wrong = [k for k in lacking if k in given]
    shapes = (f"{k} {list(given[k].shape)}, here {list(own[k].shape)}" for k in wrong[:2])
    facts = [
        f"{report.share:.0%} of the weights of {report.network} are in it",
        *([f"of another shape: {', '.join(shapes)}"] if wrong else []),
        *([f"it lacks {len(lacking)} tensors ({some_keys(lacking)})"] if lacking else []),
        *([f"of a backbone, but not of this one: {some_keys(foreign)}"] if foreign else []),
    ]
    return UserError(
        f"{report.source!r} does not fit this backbone: {'; '.join(facts)}. Give weights of this "
        f"backbone, or set {', '.join((*settings, 'MODEL.BACKBONE.NAME and DEPTH'))} to what they "
        "are of"
    )


def fit_position_embeddings(
    given: dict[str, Tensor], backbone: nn.Module, report: LoadReport
) -> None:
    """Resize those of a square grid to that of FastReID's ViT, as FastReID does.

    Weights of a distilled DeiT have a row more, that of the distillation token, which is dropped.
    """
    theirs, ours = given.get("pos_embed"), getattr(backbone, "pos_embed", None)
    if theirs is None or ours is None or theirs.shape == ours.shape or theirs.ndim != 3:
        return
    if "dist_token" in given or "distilled" in report.source:
        theirs = given["pos_embed"] = theirs[:, [0, *range(2, theirs.shape[1])]]
    grid: Any = backbone.patch_embed
    side = round((theirs.shape[1] - 1) ** 0.5)
    if theirs.shape == ours.shape or side**2 != theirs.shape[1] - 1:
        return
    rows, columns = grid.num_y, grid.num_x
    resized = vision_transformer.resize_pos_embed(theirs, ours.data, rows, columns)
    given["pos_embed"] = resized
    report.resized.append("pos_embed")
    report.notices.append(f"position embeddings resized from {side}x{side} to {rows}x{columns}")


def fit_linear_patches(given: dict[str, Tensor], backbone: nn.Module, report: LoadReport) -> None:
    """Make the patch projection of old ViTs, which is a matrix, a convolution."""
    key = "patch_embed.proj.weight"
    own = backbone.state_dict().get(key) if key in given else None
    if own is not None and given[key].ndim == 2 and given[key].numel() == own.numel():
        given[key] = given[key].reshape(own.shape)


FITTED: list[Callable[[dict[str, Tensor], nn.Module, LoadReport], None]] = [
    fit_position_embeddings,
    fit_linear_patches,
]
