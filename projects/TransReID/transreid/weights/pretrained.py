"""Pretrained weights of timm, by name, for a backbone that is being built.

The hub's own client tries again and again where there is no network, which takes a minute. Here it
is asked only if it answers at all; otherwise what has been downloaded before is used.
"""

from __future__ import annotations

import contextlib
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator

import timm
from huggingface_hub import constants
from reid_common.errors import UserError
from timm.models import get_pretrained_cfg

from ..modeling.backbone import TransReIDBackbone
from .checkpoint import LoadReport, load_recognised
from .formats import recognise

PATIENCE = 3.0  # seconds


def load_timm_pretrained(backbone: TransReIDBackbone, name: str) -> LoadReport:
    """Load timm's own pretrained weights for the model ``name``, from its cache or the hub.

    Raises:
        UserError: timm has no weights of that name, or they are not cached and cannot be
            downloaded.
    """
    source = get_pretrained_cfg(name) if timm.is_model(name) else None
    from_hub = source is not None and source.hf_hub_id and not constants.HF_HUB_OFFLINE
    unreachable = from_hub and not answers(constants.ENDPOINT)
    try:
        with hub_offline() if unreachable else contextlib.nullcontext():
            vit = timm.create_model(name, pretrained=True, num_classes=0)
    except Exception as error:  # timm and huggingface_hub raise a dozen types when offline
        reason = " ".join(str(error).split())
        if unreachable:
            reason = f"{constants.ENDPOINT} does not answer, and they are not in the cache"
        raise UserError(
            f"timm cannot give pretrained weights for {name!r}: {reason}. Without a network, "
            "download them elsewhere and set MODEL.BACKBONE.PRETRAIN_PATH, or train from scratch "
            "with MODEL.BACKBONE.PRETRAIN False"
        ) from error
    state = {key: value.detach() for key, value in vit.state_dict().items()}
    return load_recognised(backbone, recognise(state, f"timm {name}"))


@contextlib.contextmanager
def hub_offline() -> Iterator[None]:
    """Let the hub's client take files from its cache only, as HF_HUB_OFFLINE does."""
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


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
        except urllib.error.HTTPError:
            found.append(True)  # an answer, too
        except urllib.error.URLError as error:
            found.append(isinstance(error.reason, ssl.SSLError))
        except (OSError, ValueError):
            found.append(False)
        else:
            found.append(True)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(patience)
    return bool(found and found[0])
