"""The comparison of trained models: every number is that of the evaluation or of the model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from reid_commands.studies import compare_models, compared_models
from small_inference import DIM, PARTS, small_cfg, write_config, write_model
from tool_runs import fails, run
from transreid.publish.writing import Sources, write_published

QUICK = ["--batch-size", 2, "--rounds", 1, "--resamples", 99]


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> list[Path]:
    """A run's folder, a checkpoint beside its config, and a published folder of the first."""
    root = tmp_path_factory.mktemp("models")
    cfg = small_cfg(DATASETS__NAMES="('Market1501',)", DATASETS__CAMERAS="('market1501:3',)")
    cfg.DATALOADER.NUM_WORKERS = 0
    plain = cfg.clone()
    plain.MODEL.HEADS.NAME, plain.MODEL.SIE.CAMERA = "BNNeckHead", False
    for name, one in (("jpm", cfg), ("plain", plain)):
        (root / name).mkdir()
        write_config(root / name, one)
        write_model(root / name, one)
    (root / "jpm" / "model.pth").rename(root / "jpm" / "model_final.pth")
    files = [str(root / "jpm" / name) for name in ("config.yaml", "model_final.pth")]
    write_published(root / "published", Sources(*files))
    return [root / "jpm", root / "plain" / "model.pth", root / "published"]


@pytest.fixture
def data(market_root, monkeypatch) -> None:
    monkeypatch.setenv("FASTREID_DATASETS", str(market_root))
    monkeypatch.setattr(compared_models, "LEAST_SECONDS", 0.0)


def tables(text: str) -> list[list[str]]:
    rows = [line.split("|")[1:-1] for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows]


def test_table_pairs_and_picture(models, data, tmp_path, monkeypatch, capsys) -> None:
    words = [*models, "--dataset", "Market1501", "-o", tmp_path, *QUICK]
    assert run(compare_models, *words) == 0
    rows = {row[0]: row[1:] for row in tables((tmp_path / "comparison.md").read_text())}
    numbers = json.loads((tmp_path / "comparison.json").read_text())
    for name, dim in (("jpm", (PARTS + 1) * DIM), ("model", DIM), ("published", (PARTS + 1) * DIM)):
        scores = json.loads((tmp_path / name / "evaluation.json").read_text())["Market1501"]
        assert rows[name][0].startswith(f"{scores['mAP']:.1f} (")
        assert rows[name][1].startswith(f"{scores['Rank-1']:.1f} (")
        cost = numbers["costs"][name]
        assert rows[name][-1] == str(dim) == str(cost["feature_dim"])
        assert cost["images_per_second"] > 0
    state = torch.load(models[1])["model"]
    tensors = [v for k, v in state.items() if "classifier" not in k]
    learnt = [v for k, v in state.items() if "classifier" not in k and "bottleneck.r" not in k]
    assert numbers["costs"]["model"]["mib"] == pytest.approx(
        sum(v.numel() * v.element_size() for v in tensors) / 2**20
    )
    learnt = [v for v in learnt if v.is_floating_point()]
    assert numbers["costs"]["model"]["parameters"] == sum(v.numel() for v in learnt)
    # The published model is the first one: no difference at any query.
    assert rows["published less jpm"] == ["+0.0 (+0.0 to +0.0)", "1.0000"] * 2
    maps = {name: one["scores"]["mAP"] for name, one in numbers["results"].items()}
    assert rows["model less jpm"][0].startswith(f"{maps['model'] - maps['jpm']:+.1f} (")
    assert [(pair["first"], pair["second"]) for pair in numbers["pairs"]] == [
        ("jpm", "model"),
        ("jpm", "published"),
        ("model", "published"),
    ]
    assert "With 3 pair(s) a p below 0.0167" in (tmp_path / "comparison.md").read_text()
    with Image.open(tmp_path / "accuracy_speed.png") as image:
        assert image.width > 100
    capsys.readouterr()

    # Again: nothing is evaluated; the same numbers but for the speed, which is not asked for.
    with monkeypatch.context() as patch:
        patch.setattr(compared_models.training, "run_in_held_folder", pytest.fail)
        assert run(compare_models, *words, "--rounds", 0) == 0
    later = {row[0]: row[1:] for row in tables(capsys.readouterr().out)}
    assert later["jpm"] == [*rows["jpm"][:2], "not run", *rows["jpm"][3:]]
    # Other settings: evaluated again, and the older results are gone.
    before = (tmp_path / "model" / "results_Market1501.npz").read_bytes()
    run(compare_models, models[1], *words[3:], "--rounds", 0, "TEST.FLIP.ENABLED", True)
    assert (tmp_path / "model" / "results_Market1501.npz").read_bytes() != before


def test_names(models, tmp_path, capsys) -> None:
    found = compare_models.named_models([str(models[1]), str(models[0])], ["a", "b"])
    assert [(name, model.weights) for name, model in found.items()] == [
        ("a", str(models[1])),
        ("b", str(models[0] / "model_final.pth")),
    ]
    cases = [
        ([models[0], models[0]], "two models have the name"),
        ([models[0], models[1], "--names", "a"], "--names has 1 names"),
        ([models[0], models[1], "--names", "a/b", "a_b"], "give no folders of their own"),
        ([tmp_path], "is no trained model: there is no"),
        ([tmp_path / "no" / "model"], "no name of a model on the hub"),
        ([models[0], "--rounds", -1], "--rounds is -1"),
    ]
    for words, message in cases:
        said = fails(
            compare_models, capsys, *words, "--dataset", "Market1501", "-o", tmp_path / "o"
        )
        assert message in said
    assert not (tmp_path / "o").exists()
