"""Pretrained weights of timm, by name, for a backbone that is being built."""

from __future__ import annotations

import timm
from reid_common.errors import UserError

from ..modeling.backbone import TransReIDBackbone
from .checkpoint import load_recognised
from .formats import recognise
from .report import LoadReport


def load_timm_pretrained(backbone: TransReIDBackbone, name: str) -> LoadReport:
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
    return load_recognised(backbone, recognise(state, f"timm {name}"))
