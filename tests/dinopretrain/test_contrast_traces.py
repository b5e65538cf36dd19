"""Parity with the released MoCo v2, MoCo v3 and MoBY, step by step, in float64."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import contrast_models as start
import pytest
import torch
from contrast_models import STEPS
from python_forks import run_together
from torch import Tensor
from traces import CLOSE, Trace, compare, recorded, replay


@pytest.mark.parametrize("part", ["cnn", "vit"])
def test_moco_v2(part: str) -> None:
    trace = Trace("moco_v2", part)
    meta, model = trace.meta, start.moco_v2(trace)
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
                start.ours_v2(gradients),
            )
        for calls in seen.values():
            calls.clear()

    logits: list[Tensor] = []
    add = model.similarities.add
    model.similarities.add = lambda *args: (logits.append(args[0].detach()), add(*args))[1]
    replay(model, start.v2_settings(meta), trace.pairs("x_q", "x_k", STEPS), 2, STEPS, after)
    torch.testing.assert_close(torch.stack(logits), trace.tensor("logits"), **CLOSE)
    compare(model.query_encoder.state_dict(), start.ours_v2(trace.state("final/encoder_q.")))
    compare(model.key_encoder.state_dict(), start.ours_v2(trace.state("final/encoder_k.")))


@pytest.mark.parametrize("part", ["cnn", "vit"])
def test_moco_v3(part: str) -> None:
    trace = Trace("moco_v3", part)
    meta, model = trace.meta, start.moco_v3(trace)
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
                for n, g in start.ours_v3(trace.state("grad/base_encoder.")).items()
            }
            expected |= {f"predictor.{n}": g for n, g in trace.state("grad/predictor.").items()}
            compare(run.gradients, expected)

    batches = trace.pairs("x1", "x2", STEPS)
    replay(model, start.v3_settings(meta, part == "vit"), batches, 2, STEPS, after)
    compare(model.query_encoder.state_dict(), start.ours_v3(trace.state("final/base_encoder.")))
    compare(model.key_encoder.state_dict(), start.ours_v3(trace.state("final/momentum_encoder.")))
    compare(model.predictor.state_dict(), trace.state("final/predictor."))


def test_moby() -> None:
    trace = Trace("moby", "vit")
    meta, model = trace.meta, start.moby(trace)
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
            expected = {
                f"query_encoder.{n}": g * factor for n, g in start.ours_moby(theirs).items()
            }
            predictor = start.moby_predictor(theirs).items()
            expected |= {f"predictor.{n}": g * factor for n, g in predictor}
            compare(run.gradients, expected)
            assert len(run.optimizer.param_groups[1]["params"]) == len(no_decay)

    batches = trace.pairs("x1", "x2", STEPS)
    replay(model, start.moby_settings(meta), batches, 2, STEPS, after, clip=meta["clip"])
    final = trace.state("final/")
    compare(model.query_encoder.state_dict(), start.ours_moby(final))
    compare(model.key_encoder.state_dict(), start.ours_moby(final, "_k"))
    compare(model.predictor.state_dict(), start.moby_predictor(final))


def test_two_processes(tmp_path: Path) -> None:
    """MoCo v2: the trace of two processes. MoCo v3, MoBY and iBOT: that of one."""
    script = Path(__file__).with_name("two_contrast.py")
    done = run_together(2, script, tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["agreed0", "agreed1"]
