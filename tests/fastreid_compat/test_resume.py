"""A killed and resumed run ends with the weights of an uninterrupted one; a seed fixes a run."""

from __future__ import annotations

import argparse
import signal
from pathlib import Path

import pytest
import python_forks
import torch
from fastreid.data.samplers import TrainingSampler
from fastreid.engine import DefaultTrainer, default_setup
from fastreid.engine.train_loop import HookBase
from fastreid_compat.repairs.loading.reproducible import SeededBatchSampler, draws_of
from fastreid_compat.repairs.training.resume import epoch_seed
from small_trainer import (
    ITERS_PER_EPOCH,
    NUM_IMAGES,
    KillAt,
    Killed,
    SmallTrainer,
    small_cfg,
    weights,
)
from torch.utils.data import DataLoader, Dataset


class NoisyImages(Dataset):
    """Twelve "images" of 6 numbers, with noise as augmentation."""

    num_classes = 5

    def __len__(self) -> int:
        return NUM_IMAGES

    def __getitem__(self, index: int) -> dict:
        with draws_of(index):
            noise = torch.randn(6)
        return {"images": torch.arange(6) * 0.1 * index + noise, "targets": index % 5}


class ShuffledTrainer(SmallTrainer):
    """SmallTrainer with FastReID's endless shuffled stream."""

    def build_train_loader(self, cfg) -> DataLoader:
        sampler = TrainingSampler(NUM_IMAGES, seed=cfg.SEED)
        batches = SeededBatchSampler(sampler, cfg.SOLVER.IMS_PER_BATCH, True, cfg.SEED, 0)
        return DataLoader(NoisyImages(), batch_sampler=batches)


class ScaledTrainer(SmallTrainer):
    """SmallTrainer with an enabled gradient scaler, which training without CUDA has no use for."""

    grad_scaler = None

    def build_optimizer(self, cfg, model):
        self.grad_scaler = torch.amp.GradScaler("cpu", enabled=True)
        return super().build_optimizer(cfg, model)


class LearningRates(HookBase):
    """Collects the learning rate of every step: {iteration: rate}."""

    def __init__(self) -> None:
        self.rates: dict[int, float] = {}

    def before_step(self) -> None:
        self.rates[self.trainer.iter] = self.trainer.optimizer.param_groups[0]["lr"]


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    different = [key for key in one if not torch.equal(one[key], other[key])]
    assert different == []


def run(cfg, folder: Path, trainer_class=SmallTrainer, kill_at=None, resume=False):
    """Train, up to ``kill_at`` if given; returns the trainer and its learning rates."""
    cfg = cfg.clone()
    cfg.OUTPUT_DIR = str(folder)
    folder.mkdir(exist_ok=True)
    default_setup(cfg, argparse.Namespace())
    trainer = trainer_class(cfg)
    trainer.resume_or_load(resume=resume)
    rates = LearningRates()
    trainer.register_hooks([rates] if kill_at is None else [rates, KillAt(kill_at)])
    if kill_at is None:
        trainer.train()
    else:
        with pytest.raises(Killed):
            trainer.train()
    return trainer, rates.rates


SCHEDULES = {
    "steps": {"STEPS": [1, 2]},
    "steps after warm-up": {"STEPS": [1], "WARMUP_ITERS": 4},
    "warm-up throughout": {"WARMUP_ITERS": 100},
    "cosine": {"SCHED": "CosineAnnealingLR", "WARMUP_ITERS": 2},
    "delayed cosine": {"SCHED": "CosineAnnealingLR", "DELAY_EPOCHS": 1},
    "momentum": {"OPT": "SGD", "STEPS": [2]},
    "clipped": {"CLIP_GRADIENTS.ENABLED": True, "CLIP_GRADIENTS.CLIP_VALUE": 0.1},
}


@pytest.mark.parametrize("kill_at", [ITERS_PER_EPOCH + 1, 2 * ITERS_PER_EPOCH])
@pytest.mark.parametrize("schedule", list(SCHEDULES))
def test_killed_and_resumed(tmp_path, schedule, kill_at):
    cfg = small_cfg(tmp_path)
    cfg.SEED = 5
    for key, value in SCHEDULES[schedule].items():
        cfg.merge_from_list([f"SOLVER.{key}", value])
    whole, expected_rates = run(cfg, tmp_path / "whole", ShuffledTrainer)
    run(cfg, tmp_path / "killed", ShuffledTrainer, kill_at)
    resumed, rates = run(cfg, tmp_path / "killed", ShuffledTrainer, resume=True)
    first = kill_at // ITERS_PER_EPOCH * ITERS_PER_EPOCH
    assert rates == {step: expected_rates[step] for step in range(first, 3 * ITERS_PER_EPOCH)}
    assert_same(weights(whole), weights(resumed))


def test_frozen_layers_resume(tmp_path):
    cfg = small_cfg(tmp_path)
    cfg.SEED = 5
    cfg.MODEL.FREEZE_LAYERS = ["backbone"]
    cfg.SOLVER.FREEZE_ITERS = ITERS_PER_EPOCH + 1
    whole, _ = run(cfg, tmp_path / "whole", ShuffledTrainer)
    run(cfg, tmp_path / "killed", ShuffledTrainer, ITERS_PER_EPOCH + 2)
    resumed, _ = run(cfg, tmp_path / "killed", ShuffledTrainer, resume=True)
    assert_same(weights(whole), weights(resumed))


@pytest.mark.parametrize("num_workers", [0, 1])
def test_killed_and_resumed_on_images(tiny_cfg, tmp_path, num_workers):
    tiny_cfg.SEED = 3
    tiny_cfg.SOLVER.MAX_EPOCH = 3
    tiny_cfg.TEST.EVAL_PERIOD = 0
    tiny_cfg.DATALOADER.NUM_WORKERS = num_workers
    tiny_cfg.INPUT.DO_FLIP = tiny_cfg.INPUT.REA.ENABLED = True
    whole, _ = run(tiny_cfg, tmp_path / "whole", DefaultTrainer)
    run(tiny_cfg, tmp_path / "killed", DefaultTrainer, kill_at=4)
    resumed, _ = run(tiny_cfg, tmp_path / "killed", DefaultTrainer, resume=True)
    assert_same(weights(whole), weights(resumed))


# Of each epoch three files are written: model_{epoch} before its evaluation, then model_best, and
# model_{epoch} with the result.
@pytest.mark.parametrize(("how", "number"), [("step", ITERS_PER_EPOCH + 1), ("write", 5)])
def test_sigkill_and_resume_in_another_process(tmp_path, how, number):
    script = Path(__file__).with_name("killed_run.py")
    folder = tmp_path / "killed"
    # As many threads as here: sums in another order are equal to float tolerance only.
    done = python_forks.run(script, how, number, folder, torch.get_num_threads())
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert (folder / ".model_best.pth.part").exists() == (how == "write")
    assert (folder / "last_checkpoint").read_text() == "model_0000.pth"

    cfg = small_cfg(tmp_path)
    cfg.SEED = 5
    whole, _ = run(cfg, tmp_path / "whole", ShuffledTrainer)
    resumed, rates = run(cfg, folder, ShuffledTrainer, resume=True)
    assert min(rates) == ITERS_PER_EPOCH
    assert_same(weights(whole), weights(resumed))
    assert not list(folder.glob(".*.part"))


def test_seed_fixes_a_run(tmp_path):
    cfg = small_cfg(tmp_path)
    results = []
    for number, seed in enumerate((5, 5, 6)):
        cfg.SEED = seed
        trainer, _ = run(cfg, tmp_path / str(number), ShuffledTrainer)
        results.append(weights(trainer))
    assert_same(results[0], results[1])
    assert not torch.equal(results[0]["heads.weight"], results[2]["heads.weight"])


def test_runs_differ_without_a_seed(tmp_path):
    cfg = small_cfg(tmp_path)
    one, other = (run(cfg, tmp_path / name)[0] for name in ("one", "other"))
    assert not torch.equal(weights(one)["heads.weight"], weights(other)["heads.weight"])


def test_epoch_seeds_differ():
    seeds = {epoch_seed(s, r, e) for s in range(3) for r in range(3) for e in range(3)}
    assert len(seeds) == 27
    assert epoch_seed(1, 0, 2) == epoch_seed(1, 0, 2)


def test_scaler_is_saved_and_restored(tmp_path):
    """With CUDA only the scaler is enabled; its state is plain data, so that a CPU can hold it."""
    cfg = small_cfg(tmp_path)
    trainer = ScaledTrainer(cfg)
    trainer.grad_scaler.load_state_dict({**trainer.grad_scaler.state_dict(), "scale": 64.0})
    trainer.checkpointer.save("model_0000", epoch=0)
    again = ScaledTrainer(cfg)
    assert again.grad_scaler.state_dict()["scale"] != 64.0
    again.resume_or_load(resume=True)
    assert again.grad_scaler.state_dict()["scale"] == 64.0
