"""Models that HAP's authors fine-tuned with their locality module ("lem"), into our names.

Source: Yuan et al., "HAP", NeurIPS 2023, released code: a plain ViT, ``conv_head.*`` with
``conv_fc_norm.*``, and two BNNecks (``bn``, ``conv_bn``) with classifiers (``head``, ``conv_fc``).
Their models without lem are plain ViTs with a classifier, as timm's.
"""

from __future__ import annotations

from collections.abc import Mapping

from fastreid_compat.repairs.checkpoints.load_report import LoadReport
from reid_common.errors import UserError
from torch import Tensor

from .released import State

MARK = "conv_head.0.conv1.weight"
LOCALITY = "heads.locality."
NAMES = {
    "conv_head.": f"{LOCALITY}blocks.",
    "conv_fc_norm.": f"{LOCALITY}norm.",
    "bn.": "heads.necks.0.bottleneck.",
    "head.": "heads.necks.0.classifier.",
    "conv_bn.": "heads.necks.1.bottleneck.",
    "conv_fc.": "heads.necks.1.classifier.",
}
COST = (
    "the locality module (lem) is left out: the feature is [cls] alone, 768 of 2304 numbers, for "
    "which the authors publish mAP 91.7 on Market-1501 instead of 93.8, and 76.4 on MSMT17 instead "
    "of 78.0. Set MODEL.HEADS.NAME LocalityHead to keep it"
)


def from_hap(state: Mapping[str, Tensor]) -> State | None:
    """Translate a state dict with lem; None where there is none."""
    if MARK not in state or "cls_token" not in state:
        return None
    return {_translate(key): value for key, value in state.items()}


def _translate(key: str) -> str:
    for theirs, ours in NAMES.items():
        if key.startswith(theirs):
            return ours + key.removeprefix(theirs)
    return f"backbone.{key}"


def fit_locality(state: State, own: State, report: LoadReport) -> None:
    """Drop the locality module of a file, in place, for a model that has none, and say so.

    Raises:
        UserError: a whole model needs one, and the file has none.
    """
    theirs, ours = (any(key.startswith(LOCALITY) for key in names) for names in (state, own))
    if ours and not theirs:
        raise UserError(
            f"{report.source!r} has no locality module, without which the feature of MODEL.HEADS."
            "NAME LocalityHead is random; set BNNeckHead, or give the file as "
            "MODEL.BACKBONE.PRETRAIN_PATH of a training"
        )
    if not theirs or ours:
        return
    first, second = "heads.necks.0.", "heads.necks.1."
    for key in [key for key in state if key.startswith((LOCALITY, first, second))]:
        value = state.pop(key)
        if (name := key.replace(first, "heads.neck.")) in own:
            state[name] = value
    report.notices.append(COST)
