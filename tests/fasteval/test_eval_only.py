"""The command line's ``--eval-only`` with FastEvaluator and with FastReID's own evaluator."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from fasteval import FastEvaluator
from fastreid.engine import default_argument_parser
from fastreid.evaluation import ReidEvaluator
from reid_common.errors import UserError
from reid_core.config import load_config
from reid_core.run.command_line import forget_loggers
from transreid import training

CONFIG = str(
    Path(__file__).parents[2] / "projects/TransReID/configs/ToyReID/vit_tiny_transreid.yml"
)
# A model of two blocks on the tiny Market-1501 instead of ToyReID
SMALL = {
    "DATASETS.NAMES": '("Market1501",)',
    "DATASETS.TESTS": '("Market1501",)',
    "MODEL.DEVICE": "cpu",
    "MODEL.BACKBONE.NUM_BLOCKS": 2,
    "MODEL.SIE.VIEW": False,
    "MODEL.SIE.NUM_CAMERAS": 0,
    "INPUT.SIZE_TRAIN": "[64,32]",
    "INPUT.SIZE_TEST": "[64,32]",
    "DATALOADER.NUM_WORKERS": 0,
    "SEED": 1,
}


@pytest.fixture
def evaluate(market_root, tmp_path, monkeypatch):
    """Function: results of ``--eval-only`` with KEY VALUE pairs; the evaluators that it used."""
    monkeypatch.setenv("FASTREID_DATASETS", str(market_root))
    used = []
    for evaluator in (FastEvaluator, ReidEvaluator):
        original = evaluator.evaluate

        def noted(self, original=original):
            used.append(type(self).__name__)
            return original(self)

        monkeypatch.setattr(evaluator, "evaluate", noted)

    def run(*options: object) -> dict:
        keys = {**SMALL, "OUTPUT_DIR": tmp_path / "logs"}
        opts = [str(x) for pair in keys.items() for x in pair] + [str(x) for x in options]
        args = default_argument_parser().parse_args(["--config-file", CONFIG, "--eval-only", *opts])
        forget_loggers()
        weights = tmp_path / "model.pth"
        if not weights.exists():
            model = training.model_with(training.setup(args), "")
            torch.save({"model": model.state_dict()}, weights)
            forget_loggers()
        args.opts += ["MODEL.WEIGHTS", str(weights)]
        return training.train_or_evaluate(args)

    run.used = used
    return run


@pytest.mark.parametrize("rerank", [False, True])
def test_figures_are_fastreids(rerank, evaluate) -> None:
    options = ["TEST.RERANK.ENABLED", rerank, "TEST.ROC.ENABLED", True]
    got = evaluate(*options)
    expected = evaluate(*options, "TEST.EVALUATOR", "ReidEvaluator")
    assert evaluate.used == ["FastEvaluator", "ReidEvaluator"]
    assert len(got) == 9
    assert got == pytest.approx(expected, abs=1e-3)


def test_a_config_of_a_run_is_read_again(tmp_path) -> None:
    """config.yaml of a run has the keys of every project; each program reads all of them."""
    keys = ["TEST.FASTEVAL.DBA.K", 7]
    written = load_config(CONFIG, keys)
    path = tmp_path / "config.yaml"
    path.write_text(written.dump())
    assert load_config(path).TEST.FASTEVAL.DBA.K == 7
    assert load_config(path) == written
    assert load_config(CONFIG).TEST.EVALUATOR == "FastEvaluator"


def test_a_misspelt_key_is_named() -> None:
    with pytest.raises(UserError, match=r"TEST.FASTEVAL.TOPK; did you mean TEST.FASTEVAL.TOP_K"):
        load_config("", ["TEST.FASTEVAL.TOPK", 3])
