"""Models at the start of the traces of MoCo v2, MoCo v3 and MoBY, and their names there."""

from __future__ import annotations

from typing import Any

import torch
from dinopretrain.modeling.encoder import Encoder
from dinopretrain.modeling.moby import MoBY
from dinopretrain.modeling.moco_v2 import MoCoV2
from dinopretrain.modeling.moco_v3 import MoCoV3
from dinopretrain.modeling.projectors import mlp
from dinopretrain.modeling.queue import KeyQueue
from fastreid.config import CfgNode
from torch import Tensor
from traces import AlreadyNormalised, Trace, backbone_of, settings

STEPS = 4


class V2(AlreadyNormalised, MoCoV2):
    """MoCo v2 on normalised views."""


class V3(AlreadyNormalised, MoCoV3):
    """MoCo v3 on normalised views."""


class MoBYOnNormalised(AlreadyNormalised, MoBY):
    """MoBY on normalised views."""


def common(meta: dict[str, Any]) -> dict[str, Any]:
    return {
        "key_backbone": backbone_of(meta),
        "temperature": meta["temperature"],
        "pixel_mean": [0.0] * 3,
        "pixel_std": [1.0] * 3,
    }


def moco_v2(trace: Trace) -> MoCoV2:
    """As at the trace's start; their ``fc`` is our head."""
    meta = trace.meta
    width = meta["widths"][-1] if "widths" in meta else meta["width"]
    projector = mlp((width, width, meta["dim"]), bias=True, norm=False)
    model = V2(
        query_encoder=Encoder(backbone_of(meta), projector),
        predictor=None,
        queue=KeyQueue(meta["dim"], meta["queue"]),
        **common(meta),
    ).double()
    for encoder in (model.query_encoder, model.key_encoder):
        encoder.load_state_dict(ours_v2(trace.state("init/encoder_q.")))
    model.queue.keys.copy_(trace.tensor("queue/init")[None])
    return model.train()


def ours_v2(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        f"head.{name.removeprefix('fc.')}" if name.startswith("fc.") else f"backbone.{name}": value
        for name, value in state.items()
    }


def v2_settings(meta: dict[str, Any]) -> CfgNode:
    solver = {"BASE_LR": meta["lr"], "OPT": "SGD", "MOMENTUM": meta["sgd_momentum"]}
    solver |= {"WEIGHT_DECAY": meta["wd"]}
    return settings(SOLVER=solver, MOCO={"MOMENTUM": meta["momentum"]})


def moco_v3(trace: Trace) -> MoCoV3:
    """As at the trace's start; their ``fc`` or ``head`` is ours."""
    meta, vit = trace.meta, "width" in trace.meta
    hidden, out = meta["mlp_dim"], meta["dim"]
    width = meta["width"] if vit else meta["widths"][-1]
    widths = (width, hidden, hidden, out) if vit else (width, hidden, out)
    backbone = backbone_of(meta)
    if vit:
        backbone.pos_embed.requires_grad_(False)
        backbone.patch_embed.proj.requires_grad_(not meta["stop_grad_conv1"])
    model = V3(
        query_encoder=Encoder(backbone, mlp(widths, bias=False, last_norm=True)),
        predictor=mlp((out, hidden, out), bias=False, last_norm=vit),
        **common(meta),
    ).double()
    for encoder in (model.query_encoder, model.key_encoder):
        encoder.load_state_dict(ours_v3(trace.state("init/base_encoder.")))
    model.predictor.load_state_dict(trace.state("init/predictor."))
    return model.train()


def ours_v3(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        name.replace("fc.", "head.", 1)
        if name.startswith("fc.")
        else name
        if name.startswith("head.")
        else f"backbone.{name}": value
        for name, value in state.items()
    }


def v3_settings(meta: dict[str, Any], vit: bool) -> CfgNode:
    solver = {
        "BASE_LR": meta["lr"],
        "IMS_PER_BATCH": 256,  # the trace's rate is not scaled by the batch
        "WARMUP_EPOCHS": meta["warmup_epochs"],
        "OPT": "AdamW" if vit else "LARS",
        "MOMENTUM": 0.9,
        "WEIGHT_DECAY": meta["wd"],
    }
    return settings(SOLVER=solver, MOCO={"MOMENTUM": meta["momentum"]})


LAYERS = {"linear_hidden.1.": "0.", "linear_hidden.2.": "1.", "linear_out.": "3."}


def ours_moby(state: dict[str, Tensor], suffix: str = "") -> dict[str, Tensor]:
    """Encoder and projector of MoBY under our names."""
    renamed = {}
    for name, value in state.items():
        if name.startswith(f"projector{suffix}."):
            name = f"head.{name.removeprefix(f'projector{suffix}.')}"
        elif name.startswith(f"encoder{suffix}."):
            name = f"backbone.{name.removeprefix(f'encoder{suffix}.')}"
        else:
            continue
        for theirs, ours in LAYERS.items():
            name = name.replace(theirs, ours)
        renamed[name] = value
    return renamed


def moby_predictor(state: dict[str, Tensor]) -> dict[str, Tensor]:
    found = {}
    for name, value in state.items():
        for theirs, ours in LAYERS.items():
            if name.startswith(f"predictor.{theirs}"):
                found[name.replace(f"predictor.{theirs}", ours)] = value
    return found


def moby(trace: Trace) -> MoBY:
    meta = trace.meta
    hidden, out = meta["mlp_dim"], meta["dim"]
    model = MoBYOnNormalised(
        query_encoder=Encoder(backbone_of(meta), mlp((meta["width"], hidden, out), bias=True)),
        predictor=mlp((out, hidden, out), bias=True),
        queue=KeyQueue(out, meta["queue"], num_queues=2),
        **common(meta),
    ).double()
    init = trace.state("init/")
    for encoder in (model.query_encoder, model.key_encoder):
        encoder.load_state_dict(ours_moby(init))
    model.predictor.load_state_dict(moby_predictor(init))
    model.queue.keys.copy_(torch.stack([trace.tensor(f"queue{i}/init") for i in (1, 2)]))
    return model.train()


def moby_settings(meta: dict[str, Any]) -> CfgNode:
    solver = {
        "BASE_LR": meta["lr"],
        "IMS_PER_BATCH": 512,  # the trace's rates are not scaled by the batch
        "WARMUP_EPOCHS": meta["warmup_epochs"],
        "OPT": "AdamW",
        "MOMENTUM": 0.9,
        "WEIGHT_DECAY": meta["wd"],
    }
    rates = {"WARMUP_LR": meta["warmup_lr"], "MIN_LR": meta["min_lr"]}
    return settings(SOLVER=solver, MOCO={"MOMENTUM": meta["momentum"], **rates})
