"""MODEL.COMPILE of DINO: few graphs, none after the first steps, the same losses and gradients."""

from __future__ import annotations

import pytest
import torch
from dinopretrain.config import check_dino_config
from fastreid.modeling.meta_arch import build_model
from five_steps import DINO, small_config, views
from reid_common.errors import UserError
from reid_core.run.compiling import compile_model


def test_dino_compiles_once_and_is_the_same() -> None:
    torch._dynamo.reset()
    counters = torch._dynamo.utils.counters
    counters.clear()
    plain, compiled = (build_model(small_config(DINO)).train() for _ in range(2))
    compiled.load_state_dict(plain.state_dict())
    compile_model(compiled, backend="eager")
    assert list(compiled.state_dict()) == list(plain.state_dict())
    data = views()
    for step in range(3):
        batch = next(data)
        plain.teacher_temp = compiled.teacher_temp = 0.04 + 0.01 * step  # as its schedule does
        with torch._dynamo.config.patch(error_on_recompile=step > 0):
            losses = [model(batch) for model in (plain, compiled)]
            for name, loss in losses[0].items():
                torch.testing.assert_close(losses[1][name], loss)
            for each in losses:
                sum(each.values()).backward()
    for ours, theirs in zip(compiled.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-5, rtol=1e-3)
    assert not counters["graph_break"]
    # Student and teacher, with global and with local views; blocks, heads, and the loss.
    assert counters["stats"]["unique_graphs"] <= 8
    assert compiled.loss._compiled_call_impl is not None


def test_drop_path_does_not_compile_again() -> None:
    torch._dynamo.reset()
    keys = {**DINO, "MODEL.BACKBONE.DROP_PATH_RATIO": 0.1, "MODEL.BACKBONE.NUM_BLOCKS": 4}
    model = build_model(small_config(keys)).train()
    compile_model(model, backend="eager")
    data = views()
    sum(model(next(data)).values()).backward()
    with torch._dynamo.config.patch(error_on_recompile=True):
        sum(model(next(data)).values()).backward()


def test_cuda_graphs_need_a_batch_in_one_piece() -> None:
    keys = {**DINO, "MODEL.COMPILE": True, "MODEL.COMPILE_MODE": "reduce-overhead"}
    keys["SOLVER.WARMUP_ITERS"] = 0
    check_dino_config(small_config(keys))
    with pytest.raises(UserError, match=r"DINO\.MICRO_BATCH is 2; set it to 0"):
        check_dino_config(small_config({**keys, "DINO.MICRO_BATCH": 2}))
    check_dino_config(small_config({**keys, "DINO.MICRO_BATCH": 2, "MODEL.COMPILE": False}))
