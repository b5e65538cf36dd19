"""Reports: chance by formula and by simulation, the pictures, the demo and its second call."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from fastreid.evaluation.rank import evaluate_py
from PIL import Image
from reid_commands.studies import finished_run
from reid_commands.studies.runner import summary
from reid_common.errors import UserError
from reid_core.run import reports
from toyreid.people.plan import ToySpec
from toyreid.people.render import render_toyreid
from transreid import training

CONFIG = str(
    Path(__file__).parents[2] / "projects/TransReID/configs/ToyReID/vit_tiny_transreid.yml"
)


def labels(pids: list[int], camids: list[int], num_query: int) -> reports.TestSet:
    features = torch.eye(len(pids))
    return reports.TestSet(features, np.array(pids), np.array(camids), [], num_query)


def test_chance_is_the_mean_over_all_orders() -> None:
    """One query; 5 gallery images, one of them its own camera's; 2 of the 4 kept ones match."""
    test = labels([7, 7, 7, 7, 1, 2], [0, 1, 2, 0, 1, 1], num_query=1)
    precisions, first = [], []
    for order in itertools.permutations([True, True, False, False]):
        hits = np.array(order)
        precision = np.cumsum(hits) / np.arange(1, 5)
        precisions.append(precision[hits].mean())
        first.append(hits[0])
    chance = reports.chance(test)
    assert chance["mAP"] == pytest.approx(100 * np.mean(precisions))
    assert chance["Rank-1"] == pytest.approx(100 * np.mean(first))


def test_chance_is_what_random_features_give() -> None:
    rng = np.random.default_rng(0)
    pids, camids = rng.integers(0, 6, 90), rng.integers(0, 4, 90)
    test = reports.TestSet(torch.zeros(90, 1), pids, camids, [], 30)
    scores = []
    for _ in range(40):
        distances = rng.random((30, 60)).astype(np.float32)
        ids = (pids[:30], pids[30:], camids[:30], camids[30:])
        _, precision, _ = evaluate_py(distances, *ids, max_rank=50, use_metric_cuhk03=False)
        scores.append(100 * np.mean(precision))
    assert np.mean(scores) == pytest.approx(reports.chance(test)["mAP"], abs=0.5)


def test_summary_has_mean_and_spread() -> None:
    runs = [{"mAP": value, "Rank-1": 10.0} for value in (10.0, 20.0, 30.0)]
    assert "| a | 3 | 20.0 ± 10.0 | 10.0 ± 0.0 | 10.0, 20.0, 30.0 |" in summary({"a": runs})
    assert "| b | 1 | 10.0 | 10.0 | 10.0 |" in summary({"b": runs[:1]})


@pytest.fixture
def small_demo(tmp_path, monkeypatch) -> list[str]:
    """KEY VALUE pairs for a demo of seconds, on a small ToyReID."""
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path))
    spec = ToySpec(num_train_ids=8, num_test_ids=8, num_cameras=4, num_distractors=4)
    render_toyreid(str(tmp_path), spec)
    keys = {
        "MODEL.DEVICE": "cpu",
        "MODEL.BACKBONE.NUM_BLOCKS": 2,
        "DATALOADER.NUM_WORKERS": 0,
        "SOLVER.IMS_PER_BATCH": 16,
        "SOLVER.MAX_EPOCH": 2,
        "SOLVER.WARMUP_ITERS": 0,
        "TEST.EVAL_PERIOD": 1,
        "OUTPUT_DIR": tmp_path / "logs",
    }
    return [str(word) for pair in keys.items() for word in pair]


def test_demo_trains_reports_and_is_done_once(small_demo, tmp_path, monkeypatch) -> None:
    results, folder = finished_run.train_and_report(CONFIG, small_demo)
    assert folder == tmp_path / "logs"
    assert set(results) >= {"chance", "untrained", "trained", "seconds_of_training"}
    assert "| trained model |" in finished_run.table(results)
    names = {path.name for path in folder.iterdir()}
    assert names >= {"metrics.json", "curve.png", "ranks.png", "results.md", "model_final.pth"}
    assert any(name.startswith("events.out.tfevents") for name in names)
    for picture in ("curve.png", "ranks.png"):
        with Image.open(folder / picture) as image:
            colours = image.convert("RGB").getcolors(2**24)
            assert colours is not None and len(colours) > 50
    rows = [json.loads(line) for line in (folder / "metrics.json").read_text().splitlines()]
    assert rows[-1]["mAP"] == pytest.approx(results["trained"]["mAP"])

    def not_again(args: object) -> None:
        raise AssertionError("a finished run was trained again")

    monkeypatch.setattr(training, "train_or_evaluate", not_again)
    again, _ = finished_run.train_and_report(CONFIG, small_demo)
    assert again == results
    with pytest.raises(UserError, match=r"other settings: SOLVER\.MAX_EPOCH was 2, now it is 3"):
        finished_run.train_and_report(CONFIG, [*small_demo, "SOLVER.MAX_EPOCH", "3"])
    (folder / "results.json").unlink()  # as if killed before its end
    with pytest.raises(UserError, match=r"other settings: SOLVER\.BASE_LR was .*, now it is 0\.1"):
        finished_run.train_and_report(CONFIG, [*small_demo, "SOLVER.BASE_LR", "0.1"])
    where = ["DATALOADER.NUM_WORKERS", "1", "SOLVER.CHECKPOINT_PERIOD", "3"]
    again, _ = finished_run.train_and_report(CONFIG, [*small_demo, *where])  # resumes
    assert again["trained"] == results["trained"]
    # A key that a later version adds changes nothing, as long as it has its default.
    whole = results["settings"]
    older = "\n".join(line for line in whole.splitlines() if not line.startswith("SEED:"))
    assert older.count("\n") == whole.rstrip().count("\n") - 1
    (folder / "results.json").write_text(json.dumps({**results, "settings": older}))
    assert finished_run.train_and_report(CONFIG, small_demo)[0]["trained"] == results["trained"]


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (["TEST.EVAL_PERIOD", "0"], r"TEST\.EVAL_PERIOD is 0, .* set a number of epochs"),
        (["DATASETS.TESTS", "('ToyReID', 'ToyReID:cameras=1-2')"], "name one test set"),
        (["DATASETS.TESTS", "()"], "name one test set"),
    ],
)
def test_a_training_without_scores_is_refused_before_it_begins(small_demo, pairs, message) -> None:
    with pytest.raises(UserError, match=message):
        finished_run.train_and_report(CONFIG, [*small_demo, *pairs])
