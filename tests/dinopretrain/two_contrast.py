"""Script that test_contrast_traces.py starts: a trace in two gloo processes.

``two_contrast.py OUT`` compares every step of MoCo v2, MoCo v3, MoBY and iBOT, and writes
OUT/agreedRANK in each process.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import contrast_models as one
import fastreid_compat  # noqa: F401  (first: makes fastreid importable)
import test_ibot_trace as masked
import torch
from fastreid.engine import launch
from fastreid.utils import comm
from torch import Tensor
from traces import CLOSE, Trace, compare, recorded, replay


def halves(batches: list[dict[str, Tensor]]) -> list[dict[str, Tensor]]:
    """This process's half of the images."""
    return [{k: v.chunk(2)[comm.get_rank()] for k, v in batch.items()} for batch in batches]


def moco_v2() -> None:
    trace, rank = Trace("moco_v2", "two"), comm.get_rank()
    model = one.moco_v2(trace)
    order = iter(trace.tensor("perm"))
    model.permutation = lambda count: next(order)
    seen = recorded(model, "queries", "losses")

    def after(step: int, run: Any) -> None:
        q, loss = seen["queries"].pop(), seen["losses"].pop()["loss_contrast"]
        torch.testing.assert_close(q, trace.tensor("q")[step, rank], **CLOSE)
        torch.testing.assert_close(loss, trace.tensor("loss")[step, rank], **CLOSE)
        torch.testing.assert_close(model.queue.keys[0], trace.tensor("queue/after")[step], **CLOSE)
        assert int(model.queue.pointer) == trace.arrays["queue_ptr"][step]

    batches = halves(trace.pairs("x_q", "x_k", 2))
    replay(model, one.v2_settings(trace.meta), batches, 1, 2, after, parallel=True)
    for encoder, name in ((model.query_encoder, "encoder_q"), (model.key_encoder, "encoder_k")):
        final = one.ours_v2(trace.state(f"final/{name}."))
        expected = {k: v[rank] if "running_" in k else v for k, v in final.items()}
        compare(encoder.state_dict(), expected)


def moco_v3() -> None:
    for part in ("vit", "cnn"):
        trace = Trace("moco_v3", part)
        settings = one.v3_settings(trace.meta, part == "vit")
        model = one.moco_v3(trace)
        synchronised_run(model, trace, settings)
        compare(model.key_encoder.state_dict(), one.ours_v3(trace.state("final/momentum_encoder.")))
        compare(model.query_encoder.state_dict(), one.ours_v3(trace.state("final/base_encoder.")))


def moby() -> None:
    trace = Trace("moby", "vit")
    model = one.moby(trace)
    synchronised_run(model, trace, one.moby_settings(trace.meta), trace.meta["clip"])
    compare(model.query_encoder.state_dict(), one.ours_moby(trace.state("final/")))
    compare(model.key_encoder.state_dict(), one.ours_moby(trace.state("final/"), "_k"))
    for number, queue in enumerate(model.queue.keys, 1):
        torch.testing.assert_close(queue, trace.tensor(f"queue{number}/after")[-1], **CLOSE)


def ibot() -> None:
    trace = Trace("ibot", "shared")
    model, cfg = masked.ibot(trace), masked.cfg_of(trace.meta)
    synchronised_run(model, trace, cfg, trace.meta["clip_grad"], masked.batches_of(trace))
    for center, name in ((model.loss, "center"), (model.patch_center, "center2")):
        torch.testing.assert_close(center.center[0], trace.tensor(name)[-1], **CLOSE)
    compare(model.student.state_dict(), trace.state("student/"))
    compare(model.teacher.state_dict(), trace.state("teacher/"))


def synchronised_run(
    model: Any, trace: Trace, cfg: Any, clip: float = 0.0, batches: list | None = None
) -> None:
    seen = recorded(model, "losses")

    def after(step: int, run: Any) -> None:
        loss = sum(seen["losses"].pop().values()).detach().clone()
        torch.distributed.all_reduce(loss)
        torch.testing.assert_close(loss / 2, trace.tensor("loss")[step], **CLOSE)

    batches = halves(batches or trace.pairs("x1", "x2", one.STEPS))
    replay(model, cfg, batches, 2, one.STEPS, after, parallel=True, clip=clip)


def main(out: str) -> None:
    torch.set_num_threads(1)
    moco_v2()
    moco_v3()
    moby()
    ibot()
    (Path(out) / f"agreed{comm.get_rank()}").touch()


if __name__ == "__main__":
    launch(main, 1, args=(sys.argv[1],))
