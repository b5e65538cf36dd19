"""Parity with the released MoCo v2, MoCo v3 and MoBY, step by step, in float64."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from dinopretrain.modeling.encoder import Encoder
from dinopretrain.modeling.moby import MoBY
from dinopretrain.modeling.moco_v2 import MoCoV2
from dinopretrain.modeling.moco_v3 import MoCoV3
from dinopretrain.modeling.projectors import mlp
from dinopretrain.modeling.queue import KeyQueue
from fastreid.config import CfgNode
from torch import Tensor
from traces import CLOSE, AlreadyNormalised, Trace, backbone_of, compare, recorded, replay, settings

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


@pytest.mark.parametrize("part", ["cnn", "vit"])
def test_moco_v2(part: str) -> None:
    trace = Trace("moco_v2", part)
    meta, model = trace.meta, moco_v2(trace)
    assert (meta["epochs"], meta["iters"]) == (2, 2)
    seen = recorded(model, "queries", "keys", "losses")

    def after(step: int, run: Any) -> None:
        (q,), (k,), (losses,) = (seen[name] for name in ("queries", "keys", "losses"))
        torch.testing.assert_close(q, trace.tensor("q")[step], **CLOSE)
        torch.testing.assert_close(k, trace.tensor("k")[step], **CLOSE)
        assert float(losses["loss_contrast"].detach()) == pytest.approx(
            trace.arrays["loss"][step], abs=1e-6
        )
        torch.testing.assert_close(model.queue.keys[0], trace.tensor("queue/after")[step], **CLOSE)
        assert int(model.queue.pointer) == trace.arrays["queue_ptr"][step]
        assert run.lr == pytest.approx(trace.arrays["lr"][step], abs=1e-12)
        if step == 0:
            gradients = trace.state("grad/encoder_q.")
            compare(
                {n.removeprefix("query_encoder."): g for n, g in run.gradients.items()},
                ours_v2(gradients),
            )
        for calls in seen.values():
            calls.clear()

    logits: list[Tensor] = []
    add = model.similarities.add
    model.similarities.add = lambda *args: (logits.append(args[0].detach()), add(*args))[1]
    replay(model, v2_settings(meta), trace.pairs("x_q", "x_k", STEPS), 2, STEPS, after)
    torch.testing.assert_close(torch.stack(logits), trace.tensor("logits"), **CLOSE)
    compare(model.query_encoder.state_dict(), ours_v2(trace.state("final/encoder_q.")))
    compare(model.key_encoder.state_dict(), ours_v2(trace.state("final/encoder_k.")))


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


@pytest.mark.parametrize("part", ["cnn", "vit"])
def test_moco_v3(part: str) -> None:
    trace = Trace("moco_v3", part)
    meta, model = trace.meta, moco_v3(trace)
    seen = recorded(model, "losses")
    outputs: dict[str, list[Tensor]] = {"q": [], "k": []}
    model.predictor.register_forward_hook(lambda m, a, out: outputs["q"].append(out.detach()))
    model.key_encoder.register_forward_hook(lambda m, a, out: outputs["k"].append(out[1]))

    def after(step: int, run: Any) -> None:
        for name, found in outputs.items():
            torch.testing.assert_close(torch.stack(found), trace.tensor(name)[step], **CLOSE)
            found.clear()
        loss = seen["losses"].pop()["loss_contrast"]
        assert float(loss.detach()) == pytest.approx(trace.arrays["loss"][step], abs=1e-6)
        assert run.lr == pytest.approx(trace.arrays["lr"][step], abs=1e-12)
        assert run.momentum == pytest.approx(trace.arrays["momentum"][step], abs=1e-12)
        if step == 0:
            expected = {
                f"query_encoder.{n}": g
                for n, g in ours_v3(trace.state("grad/base_encoder.")).items()
            }
            expected |= {f"predictor.{n}": g for n, g in trace.state("grad/predictor.").items()}
            compare(run.gradients, expected)

    batches = trace.pairs("x1", "x2", STEPS)
    replay(model, v3_settings(meta, part == "vit"), batches, 2, STEPS, after)
    compare(model.query_encoder.state_dict(), ours_v3(trace.state("final/base_encoder.")))
    compare(model.key_encoder.state_dict(), ours_v3(trace.state("final/momentum_encoder.")))
    compare(model.predictor.state_dict(), trace.state("final/predictor."))


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


def test_moby() -> None:
    trace = Trace("moby", "vit")
    meta, model = trace.meta, moby(trace)
    no_decay = {name for name in trace.whole_meta["no_decay"]}
    seen = recorded(model, "queries", "keys", "losses")

    def after(step: int, run: Any) -> None:
        for name, found in (("q", seen["queries"]), ("k", seen["keys"])):
            torch.testing.assert_close(torch.stack(found), trace.tensor(name)[step], **CLOSE)
            found.clear()
        loss = seen["losses"].pop()["loss_contrast"]
        assert float(loss.detach()) == pytest.approx(trace.arrays["loss"][step], abs=1e-6)
        for number, queue in enumerate(model.queue.keys, 1):
            expected = trace.tensor(f"queue{number}/after")[step]
            torch.testing.assert_close(queue, expected, **CLOSE)
        assert int(model.queue.pointer) == trace.arrays["queue_ptr"][step]
        assert run.lr == pytest.approx(trace.arrays["lr"][step], abs=1e-12)
        assert run.momentum == pytest.approx(trace.arrays["momentum"][step], abs=1e-12)
        norm = trace.arrays["grad_norm"][step]
        assert run.metrics["grad_norm"] == pytest.approx(norm, rel=1e-6)
        if step == 0:
            factor = meta["clip"] / (norm + 1e-6)  # the trace's gradients are those before clipping
            theirs = trace.state("grad/")
            expected = {f"query_encoder.{n}": g * factor for n, g in ours_moby(theirs).items()}
            predictor = moby_predictor(theirs).items()
            expected |= {f"predictor.{n}": g * factor for n, g in predictor}
            compare(run.gradients, expected)
            assert len(run.optimizer.param_groups[1]["params"]) == len(no_decay)

    batches = trace.pairs("x1", "x2", STEPS)
    replay(model, moby_settings(meta), batches, 2, STEPS, after, clip=meta["clip"])
    final = trace.state("final/")
    compare(model.query_encoder.state_dict(), ours_moby(final))
    compare(model.key_encoder.state_dict(), ours_moby(final, "_k"))
    compare(model.predictor.state_dict(), moby_predictor(final))


def test_two_processes(tmp_path: Path) -> None:
    """MoCo v2: the trace of two processes. The others: that of one, BatchNorm synchronised."""
    script = Path(__file__).with_name("two_contrast.py")
    path = [
        str(script.parent),
        str(script.parents[1] / "support"),
        os.environ.get("PYTHONPATH", ""),
    ]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": os.pathsep.join(path)}
    command = [sys.executable, str(script), str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["agreed0", "agreed1"]
