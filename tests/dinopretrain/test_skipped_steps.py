"""A step whose loss or gradient is not finite changes nothing; pieces of a batch change nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from reid_common.errors import UserError
from small_dino import metrics, start
from torch import Tensor

NAN = float("nan")


def poison_loss(trainer, bad) -> None:
    """Let the loss of a forward pass be no number where ``bad()``."""
    forward = trainer.dino.loss.forward

    def loss(*args: object) -> Tensor:
        value = forward(*args)
        return value * NAN if bad() else value

    trainer.dino.loss.forward = loss


def poison_teacher(trainer, bad) -> None:
    """Let the teacher's outputs be infinite, as where float16 overflows."""
    trainer.dino.teacher.head.register_forward_hook(
        lambda module, args, output: output * float("inf") if bad() else None
    )


def poison_gradient(trainer, bad) -> None:
    """Let the loss be finite and a gradient not."""
    weight = trainer.dino.student.head.mlp[0].weight
    weight.register_hook(lambda gradient: gradient * NAN if bad() else gradient)


POISONS = {"loss": poison_loss, "teacher": poison_teacher, "gradient": poison_gradient}


@pytest.mark.parametrize("poison", POISONS)
@pytest.mark.parametrize("amp", ["", "bf16", "fp16"])
def test_a_step_that_is_not_finite_is_skipped_and_counted(dino_cfg, poison, amp) -> None:
    """Student, teacher and centre stay as they were, and the training goes on."""
    if amp:
        dino_cfg.SOLVER.AMP.ENABLED, dino_cfg.SOLVER.AMP.DTYPE = True, amp
    trainer = start(dino_cfg)
    POISONS[poison](trainer, lambda: 7 <= trainer.iter <= 9)
    states, skipped = {}, {}
    step = trainer.run_step

    def run_step() -> None:
        step()
        skipped[trainer.iter] = trainer._trainer.skipped_in_all
        states[trainer.iter] = {k: v.clone() for k, v in trainer.dino.state_dict().items()}

    trainer.run_step = run_step
    trainer.train()
    # In float16 a few more, at the beginning: the scaler has to find its scale.
    assert skipped[9] - skipped[6] == 3
    assert metrics(dino_cfg)[-1]["skipped_steps"] == skipped[max(skipped)]
    for key, value in states[9].items():
        if not key.startswith("teacher."):  # which follows after the step
            assert torch.equal(value, states[6][key]), key
    assert all(torch.equal(states[9][k], states[7][k]) for k in states[7])
    last = states[max(states)]
    for key in ("loss.center", "student.head.last_layer.weight_v", "teacher.backbone.cls_token"):
        assert not torch.equal(last[key], states[9][key])
    assert all(torch.isfinite(value).all() for value in last.values())


def test_statistics_of_batch_norm_stay(dino_cfg) -> None:
    """Those of the ICS stem, of student and teacher, move in the forward pass already."""
    dino_cfg.MODEL.BACKBONE.STEM = "ics"
    trainer = start(dino_cfg)
    for encoder in (trainer.dino.student, trainer.dino.teacher):
        encoder.backbone.register_forward_pre_hook(
            lambda module, args: args[0] * NAN if trainer.iter == 7 else None
        )
    step, moved = trainer.run_step, {}

    def run_step() -> None:
        before = {name: value.clone() for name, value in trainer.dino.named_buffers()}
        step()
        after = dict(trainer.dino.named_buffers())
        moved[trainer.iter] = {n for n, value in before.items() if not torch.equal(value, after[n])}

    trainer.run_step = run_step
    trainer.train()
    assert trainer._trainer.skipped_in_all == 1
    assert any(name.endswith("running_mean") for name in moved[6])
    assert moved[7] == set() and moved[8] == moved[6]
    assert all(torch.isfinite(value).all() for value in trainer.dino.state_dict().values())


@pytest.mark.parametrize("poison", POISONS)
def test_eleven_in_a_row_end_the_run(dino_cfg, poison) -> None:
    trainer = start(dino_cfg)
    POISONS[poison](trainer, lambda: trainer.iter >= 6)
    with pytest.raises(UserError, match=r"not finite in 11 steps in a row \(grad_norm nan, loss"):
        trainer.train()
    good = torch.load(Path(dino_cfg.OUTPUT_DIR) / "model_0000.pth", weights_only=True)["model"]
    assert all(torch.isfinite(value).all() for value in good.values())


def test_float16_overflows_end_the_run_when_there_is_no_scale(dino_cfg) -> None:
    """From a scale of 4: two halvings do not count."""
    dino_cfg.SOLVER.AMP.ENABLED, dino_cfg.SOLVER.AMP.DTYPE = True, "fp16"
    trainer = start(dino_cfg)
    trainer._trainer.grad_scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    poison_gradient(trainer, lambda: True)
    with pytest.raises(UserError, match="not finite in 11 steps in a row"):
        trainer.train()
    assert trainer._trainer.skipped_in_all == 13


def test_one_bad_piece_skips_the_whole_step(dino_cfg) -> None:
    dino_cfg.DINO.MICRO_BATCH = 3  # pieces of 3 and 1
    trainer = start(dino_cfg)
    seen = []

    def bad() -> bool:
        seen.append(trainer.iter)
        return trainer.iter == 7 and seen.count(7) == 1

    poison_loss(trainer, bad)
    trainer.train()
    assert seen.count(7) == seen.count(8) == 2
    assert metrics(dino_cfg)[-1]["skipped_steps"] == 1
    assert all(torch.isfinite(value).all() for value in trainer.dino.state_dict().values())


def test_a_training_in_pieces_is_the_training(dino_cfg, tmp_path: Path) -> None:
    """Through the trainer and its loader: the same batches, schedules and number of steps."""
    dino_cfg.MODEL.BACKBONE.DROP_PATH_RATIO = 0.0
    dino_cfg.SOLVER.MAX_EPOCH, dino_cfg.SOLVER.BASE_LR = 2, 1e-4
    runs = []
    for micro_batch in (0, 3):
        cfg = dino_cfg.clone()
        cfg.DINO.MICRO_BATCH, cfg.OUTPUT_DIR = micro_batch, str(tmp_path / str(micro_batch))
        trainer = start(cfg)
        trainer.train()
        runs.append((metrics(cfg)[-1], trainer.dino.state_dict()))
    (whole, expected), (cut, state) = runs
    for name in ("total_loss", "lr", "ema_momentum", "iteration", "teacher_entropy"):
        assert cut[name] == pytest.approx(whole[name], rel=1e-4), name
    for key, value in state.items():
        if not key.endswith("attn.qkv.bias"):  # the keys' has no gradient but for rounding
            torch.testing.assert_close(value, expected[key], atol=1e-4, rtol=1e-4, msg=key)
