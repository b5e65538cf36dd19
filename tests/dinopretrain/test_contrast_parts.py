"""Parts of MoCo v2, MoCo v3 and MoBY: positions, initial weights, schedules, queue, LARS."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from dinopretrain.modeling.moco_v3_backbone import prepare_vit
from dinopretrain.modeling.queue import KeyQueue
from dinopretrain.solver.lars import LARS
from dinopretrain.solver.schedules import cosine_to_zero, cosine_with_warmup, timm_cosine
from fastreid.config import CfgNode
from torch import nn
from traces import GOLDEN, settings, small_vit
from transreid.modeling.sincos import sincos_positions


@pytest.mark.parametrize("tag", ["4x4x16", "16x8x16"])
def test_sine_cosine_positions(tag: str) -> None:
    """The released order to the digit; the right one is another on a grid that is not square."""
    rows, columns, width = map(int, tag.split("x"))
    with np.load(GOLDEN / "moco_v3_trace.npz") as file:
        expected = torch.from_numpy(file[f"sincos/{tag}"])
    released, right = (
        sincos_positions((rows, columns), width, scrambled)[0] for scrambled in (True, False)
    )
    torch.testing.assert_close(released, expected[1:], atol=1e-6, rtol=0)
    assert not expected[0].any()  # [cls]
    assert torch.equal(released, right) == (rows == columns)
    # u is the row, in the first half; v the column.
    grid = right.unflatten(0, (rows, columns))
    assert torch.equal(grid[:, :1, : width // 2].expand(-1, columns, -1), grid[..., : width // 2])
    assert torch.equal(grid[:1, :, width // 2 :].expand(rows, -1, -1), grid[..., width // 2 :])


def test_how_moco_v3_prepares_a_vit() -> None:
    backbone: Any = small_vit((32, 16), 8, 32, 2, 4)
    cfg = settings(
        MODEL={"BACKBONE": CfgNode({"PRETRAIN": False})},
        MOCO={"POSITIONS": "sincos", "FREEZE_PATCHES": True},
    )
    prepare_vit(backbone, cfg)
    assert torch.equal(backbone.pos_embed[:, 1:], sincos_positions((4, 2), 32))
    assert not backbone.pos_embed[:, 0].any() and not backbone.pos_embed.requires_grad
    projection = backbone.patch_embed.proj
    assert not projection.weight.requires_grad and not projection.bias.requires_grad
    bound = (6 / (3 * 8 * 8 + 32)) ** 0.5
    assert 0.9 * bound < projection.weight.abs().max() <= bound
    qkv = backbone.blocks[0].attn.qkv
    xavier = (6 / (32 + 32)) ** 0.5  # of each of the three, not of all
    for part in qkv.weight.chunk(3):
        assert 0.9 * xavier < part.abs().max() <= xavier
    assert not qkv.bias.any() and backbone.cls_token.abs().max() < 1e-5
    cfg.MOCO.POSITIONS, cfg.MOCO.FREEZE_PATCHES = "learnt", False
    other: Any = small_vit((32, 16), 8, 32, 2, 4)
    prepare_vit(other, cfg)
    assert other.pos_embed.requires_grad and other.patch_embed.proj.weight.requires_grad


def test_rates_and_momentum_of_300_epochs() -> None:
    """MoCo v3: 7 iterations an epoch, batch 1024, 40 epochs of warm-up. MoBY: 5 of them."""
    long = {}
    for name in ("moco_v3", "moby"):
        with np.load(GOLDEN / f"{name}_trace.npz") as file:
            long[name] = file["long/lr"], file["long/momentum"]
    steps = range(2100)
    v3 = [cosine_to_zero(step, 2100, 1.5e-4 * 4, 40 * 7) for step in steps]
    np.testing.assert_allclose(v3, long["moco_v3"][0], rtol=1e-9, atol=1e-15)
    rates = {"start": 5e-7, "end": 5e-6, "warmup_steps": 5 * 7}
    moby = [timm_cosine(step, 2100, 1e-3, **rates) for step in steps]
    np.testing.assert_allclose(moby, long["moby"][0], rtol=1e-9, atol=1e-15)
    momentum = [cosine_with_warmup(step, 2100, 0.99, 1.0) for step in steps]
    for name in long:
        np.testing.assert_allclose(momentum, long[name][1], rtol=1e-12)


def test_a_queue_wraps_around() -> None:
    queue = KeyQueue(2, 5)
    assert torch.allclose(queue.keys.norm(dim=1), torch.ones(1, 5))
    for first in (0, 3):
        queue.push(torch.arange(first, first + 3.0)[:, None].expand(3, 2))
    # Columns 0..2, then 3, 4 and 0.
    assert queue.keys[0, 0].tolist() == [5, 1, 2, 3, 4] and int(queue.pointer) == 1
    assert queue.figures(0, 3, 0.9)["queue_filled"] == pytest.approx(3 / 5)
    assert queue.figures(9, 3, 0.9)["queue_staleness"] == pytest.approx(1 - 0.9 ** (5 / 3))


def test_lars_leaves_biases_alone() -> None:
    """By hand: a matrix of length 5 and gradient of length 10, no decay."""
    matrix, bias = nn.Parameter(torch.tensor([[3.0, 4.0]])), nn.Parameter(torch.tensor([1.0]))
    optimizer = LARS([matrix, bias], lr=2.0, weight_decay=0.0)
    for _ in range(2):
        matrix.grad, bias.grad = torch.tensor([[6.0, 8.0]]), torch.tensor([0.5])
        optimizer.step()
    # 0.001 * 5 / 10 = 0.0005, times (6, 8) and lr 2; the second step adds 0.9 of the first.
    first = torch.tensor([[3 - 0.006, 4 - 0.008]])
    length = float(first.norm())
    second = first - 2 * (
        0.9 * torch.tensor([[0.003, 0.004]]) + 0.001 * length / 10 * torch.tensor([[6.0, 8.0]])
    )
    torch.testing.assert_close(matrix.detach(), second)
    # The bias: 1 - 2 * 0.5, then - 2 * (0.45 + 0.5)
    torch.testing.assert_close(bias.detach(), torch.tensor([-1.9]))
    matrix.grad = torch.zeros(1, 2)
    LARS([matrix], lr=1.0).step()  # a gradient of 0 is not divided by
    assert torch.isfinite(matrix).all()


def test_lars_leaves_all_where_a_step_is_not_finite() -> None:
    """Nothing moves, momentum neither; the next step is as if there had been none."""
    weights = [nn.Parameter(torch.ones(2, 2)) for _ in range(2)]
    optimizers = [LARS([weight], lr=1.0, trust=0.1) for weight in weights]
    for step, gradient in enumerate((1.0, float("nan"), 2.0)):
        for weight, optimizer in zip(weights, optimizers, strict=True):
            weight.grad = torch.full((2, 2), gradient)
            if optimizer is optimizers[0]:
                optimizer.found_inf = torch.tensor(float(step == 1))
                optimizer.step()
            elif step != 1:
                optimizer.step()
    assert torch.equal(*weights)
    assert not torch.equal(weights[0], torch.ones(2, 2))
