"""Pretrained weights of timm, by name, for a backbone that is being built.

The hub's own client tries again and again where there is no network, which takes a minute. Here it
is asked only if it answers at all; otherwise what has been downloaded before is used.
"""

from __future__ import annotations

import ssl
import threading
import urllib.error
import urllib.request
from typing import Any

import timm
from fastreid_compat.repairs.checkpoints.load_report import LoadReport
from huggingface_hub import constants
from reid_common.errors import UserError
from timm.models import get_pretrained_cfg

from ..modeling.backbone import TransReIDBackbone
from .checkpoint import load_weights
from .formats import recognise

PATIENCE = 3.0  # seconds


def load_timm_pretrained(backbone: TransReIDBackbone, name: str) -> LoadReport:
    """Load timm's own pretrained weights for the model ``name``, from its cache or the hub.

    Raises:
        UserError: timm has no weights of that name, or they are not cached and cannot be
            downloaded.
    """
    source = get_pretrained_cfg(name) if timm.is_model(name) else None
    if ".openai" in name and "quickgelu" not in name:
        raise UserError(
            f"MODEL.BACKBONE.TIMM_NAME {name!r} has GELU, but OpenAI's CLIP was trained with "
            f"QuickGELU: set {name.replace('_clip_', '_clip_quickgelu_')!r}"
        )
    # The classifier of timm's CLIP towers is CLIP's projection, transposed.
    classes: dict[str, Any] = {} if backbone.proj is not None else {"num_classes": 0}
    offline = constants.HF_HUB_OFFLINE
    from_hub = source is not None and source.hf_hub_id and not offline
    unreachable = bool(from_hub) and not answers(constants.ENDPOINT)
    constants.HF_HUB_OFFLINE = offline or unreachable  # then it takes files from its cache only
    try:
        vit = timm.create_model(name, pretrained=True, **classes)
    except Exception as error:  # timm and huggingface_hub raise a dozen types when offline
        reason = " ".join(str(error).split())
        if unreachable:
            reason = f"{constants.ENDPOINT} does not answer, and they are not in the cache"
        raise UserError(
            f"timm cannot give pretrained weights for {name!r}: {reason}. Without a network, "
            "download them elsewhere and set MODEL.BACKBONE.PRETRAIN_PATH, or train from scratch "
            "with MODEL.BACKBONE.PRETRAIN False"
        ) from error
    finally:
        constants.HF_HUB_OFFLINE = offline
    state = vit.state_dict()
    if backbone.proj is not None and "head.weight" in state:
        state["proj"] = state.pop("head.weight").T
    return load_weights(backbone, recognise(state, f"timm {name}"))


def answers(url: str, patience: float = PATIENCE) -> bool:
    """Whether there is any answer from a server, through the proxy that the environment names.

    Args:
        url: of the server.
        patience: seconds; looking a name up, which has no time limit of its own, is included.
    """
    found: list[bool] = []

    def ask() -> None:
        try:
            request = urllib.request.Request(url, method="HEAD")
            urllib.request.urlopen(request, timeout=patience).close()
        except (OSError, ValueError) as error:
            refused = isinstance(error, urllib.error.HTTPError)  # an answer, too
            if not refused and not isinstance(getattr(error, "reason", None), ssl.SSLError):
                return
        found.append(True)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(patience)
    return bool(found)
