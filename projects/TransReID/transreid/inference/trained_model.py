"""A trained model from a config and a checkpoint, without the data set that it was trained on."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from fastreid.config import CfgNode
from fastreid.modeling.meta_arch import build_model
from fastreid.utils.checkpoint import Checkpointer
from reid_common.errors import UserError
from reid_common.published import weights_file
from reid_core.config import load_config
from reid_core.side_information.resolve import fill_from_weights
from torch import nn

from ..modeling.backbone import TransReIDBackbone
from ..weights.checkpoint import load_weights
from ..weights.formats import read_weights, stored_side_information
from .published_model import published_model


def inference_config(
    config: str | os.PathLike[str] | CfgNode,
    weights: str | os.PathLike[str] | None = None,
    options: Sequence[Any] = (),
) -> CfgNode:
    """A config of one's own for a model that is not trained any more.

    A given config stays as it is; "" takes that of published ``weights``, a folder or USER/NAME on
    the hub. ``weights`` become MODEL.WEIGHTS; None leaves what the config says. ``options`` are KEY
    VALUE pairs.

    Raises:
        UserError: neither a config nor published weights; see
            :func:`~.published_model.published_model`.
    """
    options = [str(option) for option in options]
    if isinstance(config, CfgNode):
        cfg = config.clone()
        cfg.defrost()
        cfg.merge_from_list(options)
    else:
        if not os.fspath(config):
            config, weights = published_model(weights or "")
        cfg = load_config(os.fspath(config), options)
    if weights is not None:
        cfg.MODEL.WEIGHTS = os.fspath(weights)
    cfg.MODEL.WEIGHTS = weights_file(cfg.MODEL.WEIGHTS)
    cfg.MODEL.BACKBONE.PRETRAIN = False
    cfg.MODEL.HEADS.NUM_CLASSES = 0
    return cfg


def build_trained_model(cfg: CfgNode) -> nn.Module:
    """Build a model with MODEL.WEIGHTS in eval mode; no data set is looked at.

    Args:
        cfg: of :func:`inference_config`; SIE sizes that it leaves open are filled from the weights,
            then it is frozen.

    Raises:
        UserError: no such file, weights that do not fit, SIE sizes that nothing tells.
    """
    path = cfg.MODEL.WEIGHTS
    if path and not os.path.isfile(path):
        raise UserError(f"there is no checkpoint {path!r}; give the path of a .pth file")
    sie, weights = cfg.MODEL.get("SIE"), None
    if sie is not None and (sie.CAMERA or sie.VIEW):
        weights = read_weights(path) if path else None
        fill_from_weights(cfg, stored_side_information(weights.state if weights else {}))
    cfg.freeze()
    model = build_model(cfg)
    if path and isinstance(getattr(model, "backbone", None), TransReIDBackbone):
        load_weights(model, weights or path)
    elif path:
        Checkpointer(model).load(path)
    return model.eval()
