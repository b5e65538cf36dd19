"""The training loop and its hooks: ends, failures, evaluation, writers, AMP, schedules."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from fastreid.engine import DefaultTrainer, hooks
from fastreid.engine.train_loop import HookBase
from fastreid.evaluation import evaluator
from fastreid.utils.events import EventStorage
from fastreid_compat import FIXES
from reid_common.errors import UserError
from small_trainer import (
    ITERS_PER_EPOCH,
    KillAt,
    Killed,
    SmallLoader,
    SmallModel,
    SmallTrainer,
    small_cfg,
    weights,
)
from torch import nn


@pytest.fixture
def cfg(tmp_path: Path):
    return small_cfg(tmp_path / "logs")


def rows(cfg) -> list[dict]:
    text = (Path(cfg.OUTPUT_DIR) / "metrics.json").read_text()
    return [json.loads(line) for line in text.splitlines()]


def tensorboard_steps(cfg, tag: str) -> dict[int, float]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(cfg.OUTPUT_DIR)
    events.Reload()
    return {event.step: event.value for event in events.Scalars(tag)}


@pytest.mark.parametrize("period", [1, 2, 5])
def test_last_evaluation_is_written(cfg, period):
    cfg.TEST.EVAL_PERIOD = period
    results = SmallTrainer(cfg).train()
    evaluated = [row["mAP"] for row in rows(cfg) if "mAP" in row]
    assert evaluated == list(SmallTrainer.scores[: SmallTrainer.num_evaluations])
    assert SmallTrainer.num_evaluations == {1: 3, 2: 2, 5: 1}[period]
    assert results["mAP"] == evaluated[-1]
    assert max(tensorboard_steps(cfg, "mAP").values()) == evaluated[-1]
    losses = [row["iteration"] for row in rows(cfg) if "total_loss" in row]
    assert losses == [2, 5, 8]


def test_no_evaluation_with_period_zero(cfg):
    cfg.TEST.EVAL_PERIOD = 0
    assert SmallTrainer(cfg).train() is None
    assert SmallTrainer.num_evaluations == 0
    assert (Path(cfg.OUTPUT_DIR) / "model_final.pth").is_file()


def test_training_without_test_sets_writes_checkpoints(cfg):
    """The released hook looks at the first test set."""
    cfg.TEST.EVAL_PERIOD = 0
    cfg.DATASETS.TESTS = ()
    SmallTrainer(cfg).train()
    files = {path.name for path in Path(cfg.OUTPUT_DIR).glob("*.pth")}
    assert "model_final.pth" in files and "model_best.pth" not in files


def test_epochs_of_one_iteration(cfg, monkeypatch):
    monkeypatch.setattr(SmallTrainer, "build_train_loader", lambda self, cfg: SmallLoader(4))
    cfg.SOLVER.MAX_EPOCH = 2
    SmallTrainer(cfg).train()
    assert [row["mAP"] for row in rows(cfg) if "mAP" in row] == [10.0, 20.0]


@pytest.mark.parametrize("error", [Killed, KeyboardInterrupt])
def test_failure_in_the_last_epoch_evaluates_and_saves_nothing(cfg, error):
    cfg.TEST.EVAL_PERIOD = 5  # the released hook evaluates after the last epoch, failed or not
    trainer = SmallTrainer(cfg)
    trainer.register_hooks([KillAt(2 * ITERS_PER_EPOCH + 1, error)])
    with pytest.raises(error):
        trainer.train()
    assert SmallTrainer.num_evaluations == 0
    assert not (Path(cfg.OUTPUT_DIR) / "model_final.pth").exists()
    losses = [row["iteration"] for row in rows(cfg) if "total_loss" in row]
    assert losses[-1] == 2 * ITERS_PER_EPOCH  # the step before the failure was written


def test_the_first_error_comes_through(cfg):
    class Failing(HookBase):
        def after_train(self) -> None:
            raise RuntimeError("another error, in the clean-up")

    trainer = SmallTrainer(cfg)
    trainer._hooks.insert(0, Failing())
    trainer.register_hooks([KillAt(0)])
    with pytest.raises(Killed):
        trainer.train()


def test_resuming_a_finished_run_evaluates_it(cfg, caplog):
    first = SmallTrainer(cfg)
    first.train()
    again = SmallTrainer(cfg)
    again.resume_or_load(resume=True)
    logging.getLogger("fastreid_compat").setLevel(logging.INFO)
    with caplog.at_level(logging.INFO, logger="fastreid_compat"):
        assert again.train()["mAP"] == SmallTrainer.scores[0]
    assert [r.message for r in caplog.records if "nothing to train" in r.message] == [
        "All 3 epochs of this run were done before; nothing to train"
    ]
    for key, value in weights(first).items():
        assert torch.equal(value, weights(again)[key])


def test_metrics_are_appended_on_resume(cfg):
    trainer = SmallTrainer(cfg)
    trainer.register_hooks([KillAt(ITERS_PER_EPOCH + 1)])
    with pytest.raises(Killed):
        trainer.train()
    trainer = SmallTrainer(cfg)
    trainer.resume_or_load(resume=True)
    trainer.train()
    iterations = [row["iteration"] for row in rows(cfg)]
    assert iterations[0] == ITERS_PER_EPOCH - 1
    assert iterations[-1] == 3 * ITERS_PER_EPOCH - 1


def test_amp_trains_on_the_cpu(cfg):
    cfg.SOLVER.AMP.ENABLED, cfg.SOLVER.AMP.DTYPE = True, "bf16"
    seen = []
    trainer = SmallTrainer(cfg)
    trainer.model.heads.register_forward_hook(lambda module, inputs, out: seen.append(out.dtype))
    before = weights(trainer)
    trainer.train()
    assert set(seen) == {torch.bfloat16}
    assert not trainer.grad_scaler.is_enabled()
    after = weights(trainer)
    assert all(not torch.equal(before[key], after[key]) for key in before)
    assert after["heads.weight"].dtype == torch.float32


@pytest.mark.parametrize(
    "value", [1.5, np.float32(1.5), np.array([1.5]), torch.tensor([[1.5]]), np.array(1.5)]
)
def test_scalars_of_one_element(value):
    with EventStorage() as storage:
        storage.put_scalar("accuracy", value)
    assert storage.latest()["accuracy"] == (1.5, 0)
    assert type(storage.latest()["accuracy"][0]) is float


def test_profiler_writes_a_trace(cfg):
    trainer = SmallTrainer(cfg)
    profiler = hooks.AutogradProfiler(lambda trainer: trainer.iter == 1, cfg.OUTPUT_DIR)
    trainer.register_hooks([profiler])
    trainer.train()
    traces = list(Path(cfg.OUTPUT_DIR).glob("profiler-trace-iter*.json"))
    assert [trace.name for trace in traces] == ["profiler-trace-iter1.json"]


def test_evaluation_keeps_frozen_layers_frozen():
    model = nn.Sequential(nn.BatchNorm1d(2), nn.BatchNorm1d(2)).train()
    model[0].eval()
    with evaluator.inference_context(model):
        assert not any(module.training for module in model.modules())
    assert [module.training for module in model.modules()] == [True, False, True]
    with pytest.raises(Killed), evaluator.inference_context(model):
        raise Killed
    assert model.training


def test_too_few_images_for_a_batch(cfg, monkeypatch):
    monkeypatch.setattr(SmallTrainer, "build_train_loader", lambda self, cfg: SmallLoader(3))
    with pytest.raises(UserError, match=r"SOLVER.IMS_PER_BATCH = 4"):
        SmallTrainer(cfg)


def test_cosine_schedule_needs_epochs_after_the_warm_up(cfg):
    cfg.SOLVER.SCHED = "CosineAnnealingLR"
    cfg.SOLVER.WARMUP_ITERS = 3 * ITERS_PER_EPOCH
    with pytest.raises(UserError, match=r"WARMUP_ITERS = 9 \(3 epochs.*MAX_EPOCH = 3"):
        SmallTrainer(cfg)
    cfg.SOLVER.WARMUP_ITERS = 2 * ITERS_PER_EPOCH
    SmallTrainer(cfg).train()


def test_precise_bn_and_freezing_run_on_the_cpu(cfg):
    cfg.TEST.PRECISE_BN.ENABLED = True
    cfg.TEST.PRECISE_BN.NUM_ITER = 4
    cfg.MODEL.FREEZE_LAYERS = ["heads"]
    cfg.SOLVER.FREEZE_ITERS = ITERS_PER_EPOCH
    trainer = SmallTrainer(cfg)
    start = weights(trainer)
    frozen = []
    trainer.register_hooks(
        [
            hooks.CallbackHook(
                after_epoch=lambda t: frozen.append(
                    torch.equal(t.model.heads.weight, start["heads.weight"])
                )
            )
        ]
    )
    trainer.train()
    assert frozen == [True, False, False]
    # All four batches of PreciseBN are the stream's first: their mean is what BatchNorm holds now.
    stream = iter(SmallLoader())
    means = [trainer.model.backbone[0](next(stream)["images"]).mean(dim=0) for _ in range(4)]
    torch.testing.assert_close(trainer.model.backbone[1].running_mean, torch.stack(means).mean(0))


def test_swa_hook_leaves_the_mean_of_the_weights(cfg):
    means = []

    class Collect(HookBase):
        def after_step(self) -> None:
            if self.trainer.iter >= ITERS_PER_EPOCH:
                means.append(self.trainer.model.heads.weight.detach().clone())

    trainer = SmallTrainer(cfg)
    swa = hooks.SWA(ITERS_PER_EPOCH, 1, 0.5, 1e-6, lr_sched=True)
    trainer.register_hooks([Collect(), swa])
    trainer.train()
    torch.testing.assert_close(trainer.model.heads.weight.detach(), torch.stack(means).mean(0))


def test_the_released_trainer_trains_a_reid_model_with_amp(tiny_cfg):
    Path(tiny_cfg.OUTPUT_DIR).mkdir()
    tiny_cfg.SOLVER.AMP.ENABLED = True
    tiny_cfg.SOLVER.MAX_EPOCH = tiny_cfg.TEST.EVAL_PERIOD = 1
    trainer = DefaultTrainer(tiny_cfg)
    before = weights(trainer)
    results = trainer.train()
    assert rows(tiny_cfg)[-1]["mAP"] == results["mAP"]
    changed = [
        key for key, value in weights(trainer).items() if not torch.equal(value, before[key])
    ]
    assert set(before) - set(changed) == {"heads.bottleneck.0.bias"}  # frozen in FastReID


def test_fixes_of_the_training_side_are_idempotent():
    modules = "optimizer", "training", "hooks_fixes", "checkpoint_files", "checkpoints", "resume"
    fixes = [f for f in FIXES.values() if f.repair.__module__.rpartition(".")[2] in modules]
    assert fixes
    assert [f.name for f in fixes if f.repair()] == []


def test_a_warm_up_longer_than_the_run_warns(cfg, caplog):
    cfg.SOLVER.WARMUP_ITERS = 3 * ITERS_PER_EPOCH + 1
    SmallTrainer(cfg)
    assert "WARMUP_ITERS is 10, more than the 9 iterations of the run" in caplog.text


class NotFinite(SmallModel):
    """SmallModel with a second loss that is NaN from one iteration on."""

    def __init__(self, num_classes: int, first: int) -> None:
        super().__init__(num_classes)
        self.left = first

    def forward(self, batch):
        losses = super().forward(batch)
        self.left -= 1
        return {**losses, "loss_other": losses["loss_cls"] * (1.0 if self.left >= 0 else np.nan)}


@pytest.mark.parametrize(
    ("first", "says"),
    [
        (1, r"iteration 1 \(epoch 1 of 3\).*There is no good checkpoint yet"),
        (4, r"iteration 4 \(epoch 2 of 3\).*checkpoint is '.*model_0000.pth': continue with --res"),
    ],
)
def test_a_loss_that_is_not_finite_says_what_to_do(cfg, monkeypatch, first, says) -> None:
    cfg.TEST.EVAL_PERIOD = 0
    monkeypatch.setattr(SmallTrainer, "build_model", lambda *_: NotFinite(5, first))
    with pytest.raises(UserError, match=says) as error:
        SmallTrainer(cfg).train()
    message = str(error.value)
    assert message.startswith("loss_other is nan at") and "loss_cls" not in message
    assert "lower SOLVER.BASE_LR (now 0.01) or set SOLVER.CLIP_GRADIENTS.ENABLED True" in message
    assert "bf16" not in message


def test_a_checkpoint_that_diverged_is_not_called_good(cfg, monkeypatch) -> None:
    """The weights become NaN in the last step of an epoch; the loss shows it in the next."""
    cfg.TEST.EVAL_PERIOD = 0

    class Spoil(HookBase):
        def after_step(self) -> None:
            if self.trainer.iter == 2 * ITERS_PER_EPOCH - 1:
                next(self.trainer.model.parameters()).data.fill_(np.nan)

    trainer = SmallTrainer(cfg)
    trainer.register_hooks([Spoil()])
    trainer._hooks.insert(0, trainer._hooks.pop())
    with pytest.raises(UserError, match=r"loss_cls is nan at iteration 6 ") as error:
        trainer.train()
    last = str(Path(cfg.OUTPUT_DIR) / "model_0000.pth")
    assert f"checkpoint is '{last}': set MODEL.WEIGHTS {last}" in str(error.value)
