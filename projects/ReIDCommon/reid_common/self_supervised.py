"""Checkpoints of self-supervised training: which of their encoders is handed on.

Of momentum contrast that is the online encoder (of the queries), not its average, and without the
heads behind the backbone. Sources: facebookresearch/moco (also the ResNet-50 of Fu et al.,
"Unsupervised Pre-training for Person Re-identification", CVPR 2021), facebookresearch/moco-v3,
SwinTransformer/Transformer-SSL (MoBY), and dinopretrain of this repository.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

OURS = "query_encoder.backbone."


class Form(NamedTuple):
    """How a method's checkpoints look."""

    method: str
    online: str  # in front of the online encoder's keys
    average: str  # in front of its average's
    heads: tuple[str, ...]  # behind ``online``: what is no part of the backbone


FORMS = (
    Form("pre-training checkpoint of dinopretrain", OURS, "key_encoder.", ()),
    Form("MoCo v2 checkpoint", "encoder_q.", "encoder_k.", ("fc.",)),
    Form("MoCo v3 checkpoint", "base_encoder.", "momentum_encoder.", ("fc.", "head.")),
    Form("MoBY checkpoint", "encoder.", "encoder_k.", ("head.", "fc.")),
)


class Online(NamedTuple):
    """A backbone out of a checkpoint."""

    state: dict[str, Any]  # under the backbone's own names
    method: str  # what the checkpoint was recognised as
    num_heads: int  # of its attention, 0 if that is not known


def online_backbone(state: Mapping[str, Any]) -> Online | None:
    """The online encoder's backbone of a checkpoint of momentum contrast; None for any other.

    Args:
        state: state dict, with or without ``module.`` in front.
    """
    state = {str(key).removeprefix("module."): value for key, value in state.items()}
    for form in FORMS:
        # The average may have been taken out to save space; an encoder alone is too common a name.
        known = form.average if form.online == "encoder." else form.online
        if any(key.startswith(known) for key in state):
            inside = {
                key.removeprefix(form.online): value
                for key, value in state.items()
                if key.startswith(form.online)
            }
            kept = {k: v for k, v in inside.items() if not k.startswith(form.heads or ("\0",))}
            return Online(kept, form.method, _num_heads(state, kept, form.method))
    return None


def _num_heads(state: Mapping[str, Any], backbone: Mapping[str, Any], method: str) -> int:
    """Our checkpoints say it; MoCo v3's ViT-S and ViT-B have 12, MoBY's DeiT-S 6."""
    if "num_heads" in state:
        return int(state["num_heads"])
    if "cls_token" not in backbone:
        return 0
    width = backbone["cls_token"].shape[-1]
    if method.startswith("MoCo v3"):
        return {384: 12, 768: 12}.get(width, 0)
    return {384: 6}.get(width, 0) if method.startswith("MoBY") else 0
