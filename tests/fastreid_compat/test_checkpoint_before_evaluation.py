"""An evaluation that fails never loses the weights of its epoch."""

from __future__ import annotations

import pytest
import torch
from reid_common.errors import UserError
from small_trainer import SmallTrainer, small_cfg, weights


class FailingTrainer(SmallTrainer):
    """Its evaluation fails from the second on."""

    @classmethod
    def test(cls, cfg, model):
        if cls.num_evaluations:
            raise UserError("no query has a match")
        return super().test(cfg, model)


def fail(cfg) -> SmallTrainer:
    trainer = FailingTrainer(cfg)
    with pytest.raises(UserError, match="no query has a match"):
        trainer.train()
    return trainer


def same(path, trainer) -> bool:
    model = torch.load(path, weights_only=False)["model"]
    return all(torch.equal(model[key], value) for key, value in weights(trainer).items())


def test_the_checkpoint_is_written_before_the_evaluation(tmp_path, caplog) -> None:
    trainer = fail(small_cfg(tmp_path))
    assert same(tmp_path / "model_0001.pth", trainer)
    assert "the weights of this epoch are in" in caplog.text
    # The run resumes from the epoch before, so that it repeats the evaluation.
    assert (tmp_path / "last_checkpoint").read_text() == "model_0000.pth"


def test_the_last_epoch(tmp_path) -> None:
    cfg = small_cfg(tmp_path)
    cfg.SOLVER.MAX_EPOCH, cfg.SOLVER.CHECKPOINT_PERIOD = 2, 2
    assert same(tmp_path / "model_final.pth", fail(cfg))


def test_an_epoch_without_a_checkpoint_of_its_own(tmp_path) -> None:
    cfg = small_cfg(tmp_path)
    cfg.SOLVER.CHECKPOINT_PERIOD = 10
    assert same(tmp_path / "model_0001.pth", fail(cfg))


def test_an_evaluation_that_works_leaves_the_files_as_before(tmp_path) -> None:
    cfg = small_cfg(tmp_path)
    cfg.SOLVER.CHECKPOINT_PERIOD = 2
    SmallTrainer(cfg).train()
    names = sorted(path.name for path in tmp_path.glob("*.pth"))
    assert names == ["model_0001.pth", "model_best.pth", "model_final.pth"]
    final = torch.load(tmp_path / "model_final.pth", weights_only=False)
    assert final["metric"] == final["best_metric"] == 30 and final["epoch"] == 2
    assert (tmp_path / "last_checkpoint").read_text() == "model_final.pth"
