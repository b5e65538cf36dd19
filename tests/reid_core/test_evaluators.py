"""Evaluators by name, and protocols that test several splits on the same features."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fastreid.data.datasets import DATASET_REGISTRY
from fastreid.engine import DefaultTrainer
from fastreid.evaluation import ReidEvaluator
from fastreid_compat.repairs.evaluation.repeated_splits import RepeatedEvaluator, one_gallery_image
from PIL import Image
from reid_common.errors import UserError
from reid_core.run.evaluators import EVALUATOR_REGISTRY, make_evaluator
from reid_core.run.validation import validate_config


class Constant(ReidEvaluator):
    """An evaluator of one's own."""

    def evaluate(self):
        return {"mAP": 12.0, "num_query": self._num_query}


@pytest.fixture
def vehicleid_cfg(tiny_cfg, tmp_path, monkeypatch):
    """10 vehicles with 1 to 5 test images, each in a colour of its own."""
    folder = tmp_path / "vehicleid"
    (folder / "image").mkdir(parents=True)
    (folder / "train_test_split").mkdir()
    rng = np.random.default_rng(0)
    lines = []
    for image, vehicle in enumerate(np.repeat(np.arange(10), np.arange(10) % 5 + 1)):
        lines.append(f"{image:07d} {vehicle}\n")
        colour = np.random.default_rng(vehicle).integers(100, 150, 3)
        pixels = np.clip(colour + rng.integers(-60, 60, (32, 32, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "image" / f"{image:07d}.jpg")
    for name in ("train_list", "test_list_13164", "test_list_800"):
        (folder / "train_test_split" / f"{name}.txt").write_text("".join(lines))
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path))
    tiny_cfg.DATASETS.NAMES = tiny_cfg.DATASETS.TESTS = ("SmallVehicleID",)
    tiny_cfg.DATALOADER.NUM_WORKERS = 0
    return tiny_cfg


def test_the_config_names_the_evaluator(tiny_cfg, monkeypatch):
    _, evaluator = DefaultTrainer.build_evaluator(tiny_cfg, "Market1501")
    assert type(evaluator) is ReidEvaluator and evaluator._num_query == 9
    monkeypatch.setitem(EVALUATOR_REGISTRY._obj_map, "Constant", Constant)
    tiny_cfg.TEST.EVALUATOR = "Constant"
    validate_config(tiny_cfg)
    _, evaluator = DefaultTrainer.build_evaluator(tiny_cfg, "Market1501", "folder")
    assert evaluator.evaluate() == {"mAP": 12.0, "num_query": 9}
    assert evaluator._output_dir == "folder"


def test_unknown_evaluator(tiny_cfg):
    tiny_cfg.TEST.EVALUATOR = "ReIDEvaluators"
    with pytest.raises(UserError, match=r"TEST.EVALUATOR: 'ReIDEvaluators'.*'ReidEvaluator'"):
        validate_config(tiny_cfg)


def test_one_image_an_identity_is_the_gallery():
    pids = np.repeat([7, 3, 5, 9], [4, 1, 6, 2])
    drawn = set()
    for seed in range(60):
        queries, gallery = one_gallery_image(pids, seed)
        assert sorted([*queries, *gallery]) == list(range(13))
        assert sorted(pids[gallery]) == [3, 5, 7, 9]
        assert list(gallery) == sorted(gallery) and list(queries) == sorted(queries)
        again = one_gallery_image(pids, seed)
        assert np.array_equal(again[0], queries) and np.array_equal(again[1], gallery)
        drawn.add(gallery[pids[gallery] == 5][0])
    assert drawn == set(range(5, 11)), "every image of an identity may be drawn"


def test_every_size_of_vehicleid_has_ten_draws():
    for name in ("VehicleID", "SmallVehicleID", "MediumVehicleID", "LargeVehicleID"):
        assert DATASET_REGISTRY.get(name).num_repeats == 10
    assert not hasattr(DATASET_REGISTRY.get("Market1501"), "num_repeats")


def test_mean_and_spread_by_hand(tiny_cfg):
    """Four images on a line: identity 0 at 0 and 1, identity 1 at 1.2 and 5."""
    features = torch.tensor([[0.0], [1.0], [1.2], [5.0]])
    splits = [
        # queries 0, 3 (identity 0, 1), gallery 1, 2: 0 finds 1 (right); 3 finds 2 (right)
        (np.array([0, 3]), np.array([1, 2])),
        # queries 1, 3, gallery 0, 2: 1 is nearer to 2 (0.2) than to 0 (1.0): its match is second
        (np.array([1, 3]), np.array([0, 2])),
    ]
    tiny_cfg.TEST.METRIC = "euclidean"
    evaluator = RepeatedEvaluator(
        lambda pids, seed: splits[seed], 2, lambda queries: ReidEvaluator(tiny_cfg, queries)
    )
    batch = {"targets": torch.tensor([0, 0, 1, 1]), "camids": torch.arange(4)}
    for _ in range(2):  # reset forgets
        evaluator.reset()
        evaluator.process({k: v[:3] for k, v in batch.items()}, features[:3])
        evaluator.process({k: v[3:] for k, v in batch.items()}, features[3:])
        found = evaluator.evaluate()
        assert found["mAP"] == pytest.approx((100 + 75) / 2)
        assert found["Rank-1"] == pytest.approx((100 + 50) / 2)
        assert found["Rank-5"] == 100 and found["Rank-5_std"] == 0
        assert found["mAP_std"] == pytest.approx(12.5 * 2**0.5)  # of 2 values: half their gap x √2
        assert found["Rank-1_std"] == pytest.approx(25 * 2**0.5)
        assert found["metric"] == pytest.approx((87.5 + 75) / 2)
    assert list(found)[:5] == ["Rank-1", "Rank-5", "Rank-10", "mAP", "mINP"]


def test_one_split_has_no_spread():
    with pytest.raises(ValueError, match="num_repeats=1"):
        RepeatedEvaluator(one_gallery_image, 1, lambda queries: None)


def test_vehicleid_through_the_trainer(vehicleid_cfg):
    """Against splits that are ranked here."""
    torch.manual_seed(3)
    model = DefaultTrainer.build_model(vehicleid_cfg)
    found = DefaultTrainer.test(vehicleid_cfg, model)
    loader, _ = DefaultTrainer.build_test_loader(vehicleid_cfg, "SmallVehicleID")
    model.eval()
    with torch.no_grad():
        batches = [(model(b), b["targets"]) for b in loader]
    features = torch.nn.functional.normalize(torch.cat([f for f, _ in batches])).numpy()
    pids = torch.cat([t for _, t in batches]).numpy()
    assert len(pids) == 30
    reciprocal = []  # one match a query: AP is 1 / its rank
    for seed in range(10):
        queries, gallery = one_gallery_image(pids, seed)
        order = np.argsort(-features[queries] @ features[gallery].T, axis=1)
        hits = pids[gallery][order] == pids[queries][:, None]
        reciprocal.append(100 * np.mean(1 / (np.argmax(hits, axis=1) + 1)))
    assert found["mAP"] == pytest.approx(np.mean(reciprocal), abs=1e-3)
    assert found["mAP_std"] == pytest.approx(np.std(reciprocal, ddof=1), abs=1e-3)
    assert found["mAP_std"] > 0


def test_other_data_sets_are_tested_once(tiny_cfg):
    assert type(make_evaluator(tiny_cfg, "Market1501", 3)) is ReidEvaluator
