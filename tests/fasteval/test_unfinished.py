"""An evaluation that is interrupted leaves its features, and the next one uses them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from fasteval import evaluate_model, unfinished
from fastreid.engine import DefaultTrainer
from synthetic import write_market
from torch import nn

NUM_IMAGES = 27  # 9 queries, 18 of the gallery: 7 batches of 4


class Interrupted(Exception):
    """Stands for Ctrl-C."""


class Counting(nn.Module):
    """A model that counts its images, and may be interrupted before a batch."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.num_images = 0
        self.files: list[int] = []
        self.stop_before: int | None = None

    def forward(self, batch: dict) -> torch.Tensor:
        if self.stop_before is not None and self.num_images >= self.stop_before:
            raise Interrupted
        self.num_images += len(batch["targets"])
        return self.model(batch)


@pytest.fixture
def cfg(fast_cfg, tmp_path):
    fast_cfg.TEST.IMS_PER_BATCH = 4
    fast_cfg.MODEL.WEIGHTS = "some.pth"  # that there are any is all that counts here
    return fast_cfg


@pytest.fixture
def model(cfg) -> Counting:
    torch.manual_seed(5)
    return Counting(DefaultTrainer.build_model(cfg))


def interrupt(cfg, model: Counting, after: int) -> None:
    model.num_images, model.stop_before = 0, after
    with pytest.raises(Interrupted):
        evaluate_model(cfg, model)
    assert model.num_images == after
    model.num_images, model.stop_before = 0, None


def folders(cfg) -> list[Path]:
    return sorted(Path(cfg.OUTPUT_DIR).glob("unfinished_evaluation/*"))


def test_the_next_call_goes_on(cfg, model, caplog) -> None:
    expected = DefaultTrainer.test(cfg, model)
    interrupt(cfg, model, after=12)
    assert len(folders(cfg)) == 1
    with caplog.at_level("INFO", "fasteval"):
        got = evaluate_model(cfg, model)
    assert "12 of 27 images are extracted already" in caplog.text
    assert model.num_images == NUM_IMAGES - 12
    assert got == pytest.approx(expected, abs=1e-4)
    assert not (Path(cfg.OUTPUT_DIR) / "unfinished_evaluation").exists()


def test_twice_interrupted_in_other_batches(cfg, model) -> None:
    expected = DefaultTrainer.test(cfg, model)
    interrupt(cfg, model, after=8)
    cfg.TEST.IMS_PER_BATCH = 5
    interrupt(cfg, model, after=10)
    cfg.TEST.IMS_PER_BATCH = 100
    assert evaluate_model(cfg, model) == pytest.approx(expected, abs=1e-4)
    assert model.num_images == NUM_IMAGES - 18


def test_interrupted_after_the_last_image(cfg, model, monkeypatch) -> None:
    """In the ranking, say: nothing is extracted again, the loader is empty."""
    expected = DefaultTrainer.test(cfg, model)

    def evaluate(self):
        raise Interrupted

    with monkeypatch.context() as patch:
        patch.setattr("fasteval.evaluator.FastEvaluator.evaluate", evaluate)
        with pytest.raises(Interrupted):
            evaluate_model(cfg, model)
    model.num_images = 0
    assert evaluate_model(cfg, model) == pytest.approx(expected, abs=1e-4)
    assert model.num_images == 0


def test_any_evaluator_goes_on(cfg, model) -> None:
    cfg.TEST.EVALUATOR = "ReidEvaluator"
    expected = DefaultTrainer.test(cfg, model)
    interrupt(cfg, model, after=16)
    assert evaluate_model(cfg, model) == pytest.approx(expected, abs=1e-4)
    assert model.num_images == NUM_IMAGES - 16


def test_what_was_extracted_is_written_meanwhile(cfg, model, monkeypatch) -> None:
    """A process that is killed cannot write any more."""
    monkeypatch.setattr(unfinished, "SAVE_SECONDS", 0.0)
    seen = []

    def forward(batch):
        if len(seen) == 3:
            raise Interrupted
        files = [file for folder in folders(cfg) for file in folder.glob("*.npz")]
        seen.append(len(files))
        return model.model(batch)

    monkeypatch.setattr(model, "forward", forward)
    with pytest.raises(Interrupted):
        evaluate_model(cfg, model)
    assert seen == [0, 1, 2]


def test_other_weights_start_over(cfg, model) -> None:
    interrupt(cfg, model, after=12)
    with torch.no_grad():
        next(model.parameters()).mul_(1.01)
    evaluate_model(cfg, model)
    assert model.num_images == NUM_IMAGES
    assert len(folders(cfg)) == 1, "what belongs to the other weights stays"


def test_another_size_of_images_starts_over(cfg, model) -> None:
    interrupt(cfg, model, after=12)
    cfg.INPUT.SIZE_TEST = [32, 32]
    evaluate_model(cfg, model)
    assert model.num_images == NUM_IMAGES


def test_images_that_changed_start_over(cfg, model, tmp_path, monkeypatch) -> None:
    root = tmp_path / "data"
    monkeypatch.setenv("FASTREID_DATASETS", str(root))
    image = sorted((write_market(root) / "query").glob("*.jpg"))[0]
    interrupt(cfg, model, after=12)
    os.utime(image, ns=(0, 0))
    evaluate_model(cfg, model)
    assert model.num_images == NUM_IMAGES


def test_a_damaged_file_is_extracted_again(cfg, model, monkeypatch, caplog) -> None:
    monkeypatch.setattr(unfinished, "SAVE_SECONDS", 0.0)
    expected = DefaultTrainer.test(cfg, model)
    interrupt(cfg, model, after=12)
    damaged = sorted(folders(cfg)[0].glob("*.npz"))[1]
    damaged.write_bytes(damaged.read_bytes()[:100])
    assert evaluate_model(cfg, model) == pytest.approx(expected, abs=1e-4)
    assert model.num_images == NUM_IMAGES - 8
    assert f"{str(damaged)!r} cannot be read" in caplog.text


def test_a_folder_that_cannot_be_written_is_a_warning(cfg, model, tmp_path, caplog) -> None:
    expected = DefaultTrainer.test(cfg, model)
    (tmp_path / "file").touch()
    cfg.TEST.FASTEVAL.FEATURE_DIR = str(tmp_path / "file")
    assert evaluate_model(cfg, model) == pytest.approx(expected, abs=1e-4)
    assert "An interruption would lose features" in caplog.text


@pytest.mark.parametrize("why", ["no weights", "switched off"])
def test_nothing_is_kept(why, cfg, model) -> None:
    cfg.MODEL.WEIGHTS = "" if why == "no weights" else "some.pth"
    cfg.TEST.FASTEVAL.RESUME = why == "no weights"
    interrupt(cfg, model, after=12)
    assert not folders(cfg)
    evaluate_model(cfg, model)
    assert model.num_images == NUM_IMAGES


def test_the_results_file_is_that_of_an_uninterrupted_run(cfg, model, tmp_path) -> None:
    cfg.TEST.FASTEVAL.SAVE_RESULTS = "npz"
    DefaultTrainer.test(cfg, model)
    file = tmp_path / "logs/results_Market1501.npz"
    with np.load(file) as expected:
        expected = dict(expected)
    file.unlink()
    interrupt(cfg, model, after=12)
    evaluate_model(cfg, model)
    with np.load(file) as got:
        assert set(got.files) == set(expected)
        np.testing.assert_array_equal(got["paths"], expected["paths"])
        np.testing.assert_array_equal(got["pids"], expected["pids"])
        np.testing.assert_allclose(got["features"], expected["features"], atol=1e-4)
