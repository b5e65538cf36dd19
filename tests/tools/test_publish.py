"""tools/publish.py as a user calls it, and the folder under --weights of the other commands."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from cfs.scoring.models import build_feature_model
from fastreid.modeling.backbones import build_backbone
from reid_commands import calibrate, convert_weights, export, publish, train
from reid_commands import extract as extract_features
from reid_commands.visualize import sie
from reid_common import published
from reid_common.digests import file_digest
from reid_core.config import load_config
from small_inference import small_cfg, write_config, write_model
from tool_runs import fails, run
from transreid import FeatureExtractor
from transreid.inference.feature_files import read_features


@pytest.fixture(scope="module")
def model(market_root, tmp_path_factory) -> Path:
    """A run's folder: config, weights, and the results of an evaluation."""
    folder = tmp_path_factory.mktemp("run")
    names = {"DATASETS__NAMES": "('Market1501',)", "DATASETS__TESTS": "('Market1501',)"}
    cfg = small_cfg(**names, DATASETS__CAMERAS="('market1501:3',)", SEED=7)
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.TEST.FASTEVAL.SAVE_RESULTS = "npz"
    write_config(folder, cfg)
    weights = write_model(folder, cfg)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FASTREID_DATASETS", str(market_root))
        pairs = ["MODEL.WEIGHTS", weights, "OUTPUT_DIR", folder / "logs"]
        run(train, "--config-file", folder / "config.yaml", "--eval-only", *pairs)
    return folder


@pytest.fixture(scope="module")
def words(model) -> list[object]:
    return ["--config-file", model / "config.yaml", "--weights", model / "model.pth"]


@pytest.fixture(scope="module")
def folder(model, words, market_root, tmp_path_factory) -> Path:
    """Published with metrics, thresholds and a licence."""
    place = tmp_path_factory.mktemp("published")
    listed = place / "list.csv"
    images = sorted((market_root / "Market-1501-v15.09.15" / "query").glob("*.jpg"))
    rows = [f"{image},{image.name[:4]},{int(image.name[6]) - 1}" for image in images]
    listed.write_text("image,identity,camera\n" + "\n".join(rows))
    features = place / "f.npz"
    run(extract_features, listed, "-o", features, "--num-workers", 0, *words)
    run(calibrate, "--identities", "--features", features, "--far", 0.1, "-o", place / "c")
    results = model / "logs" / "results_Market1501.npz"
    more = ["--results", results, "--calibration", place / "c", "--license", "mit"]
    assert run(publish, "-o", place / "vit", *words, *more) == 0
    return place / "vit"


def test_the_card_has_metrics_thresholds_and_licence(folder, model) -> None:
    card = (folder / published.CARD).read_text()
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in card.splitlines()]
    scores = json.loads((model / "logs" / "evaluation.json").read_text())["Market1501"]
    (row,) = (line for line in lines if line and line[0] == "Market1501" and len(line) > 3)
    assert row[1:3] == ["9", "18"] and row[-1] == "cosine"
    assert row[3].startswith(f"{scores['mAP']:.1f} (") and " to " in row[3]
    assert row[4].startswith(f"{scores['Rank-1']:.1f} (")
    assert "features that were evaluated: Market1501: 4." in card
    assert ["seeds", "7; one run"] in lines
    thresholds = json.loads((folder / published.THRESHOLD).read_text())
    (point,) = thresholds["points"]
    assert any(f"{point['threshold']:.6f}" in line for line in lines)
    assert 'license: "mit"' in card and "FILL IN" not in card
    for file in folder.iterdir():
        assert str(model).encode() not in file.read_bytes(), file


def test_commands_take_the_folder_as_weights(folder, words, market_root, tmp_path) -> None:
    images = market_root / "Market-1501-v15.09.15" / "query"
    for name, given in (("a", words), ("b", ["--weights", folder])):
        out = tmp_path / f"{name}.npz"
        assert run(extract_features, images, "-o", out, "--num-workers", 0, *given) == 0
    one, other = (read_features(tmp_path / name).features for name in ("a.npz", "b.npz"))
    np.testing.assert_array_equal(one, other)
    assert run(sie, "-o", tmp_path / "sie.png", "--weights", folder) == 0
    onnx = tmp_path / "model.onnx"
    assert run(export, "-o", onnx, "--weights", folder, "--camera", "off") == 0
    meta = onnxruntime.InferenceSession(onnx).get_modelmeta().custom_metadata_map
    assert meta["config_name"] == "config.yaml"


def test_checkpoints_may_be_the_folder(folder, model, tmp_path) -> None:
    config = folder / published.CONFIG
    ours = tmp_path / "ours.pth"
    assert run(convert_weights, folder, "-o", ours, "--config-file", config) == 0
    state, expected = torch.load(ours)["model"], torch.load(model / "model.pth")["model"]
    names = [name for name in expected if "classifier" not in name]
    assert all(state[name].equal(expected[name]) for name in names)
    scored = build_feature_model(load_config(config), str(folder), "source")
    assert scored.weights_sha256 == file_digest(folder / published.WEIGHTS)
    pairs = ["MODEL.BACKBONE.PRETRAIN", True, "MODEL.BACKBONE.PRETRAIN_PATH", folder]
    backbone = build_backbone(load_config(config, list(map(str, pairs))))
    blocks = "backbone.blocks.0.attn.qkv.weight"
    assert backbone.state_dict()[blocks.removeprefix("backbone.")].equal(expected[blocks])


def test_the_folder_is_evaluated_as_the_run(
    folder, model, market_root, tmp_path, monkeypatch
) -> None:
    monkeypatch.setenv("FASTREID_DATASETS", str(market_root))
    pairs = ["MODEL.WEIGHTS", folder, "OUTPUT_DIR", tmp_path, "MODEL.DEVICE", "cpu"]
    run(train, "--config-file", folder / published.CONFIG, "--eval-only", *pairs)
    one, other = (place / "evaluation.json" for place in (tmp_path, model / "logs"))
    assert json.loads(one.read_text()) == json.loads(other.read_text())


def test_results_and_thresholds_of_other_weights_are_refused(
    model, words, folder, tmp_path, capsys
) -> None:
    content = torch.load(model / "model.pth")
    for key, tensor in content["model"].items():
        if key.endswith("global_branch.norm.weight"):
            tensor.copy_(torch.randn_like(tensor))
    other = tmp_path / "other.pth"
    torch.save(content, other)
    given = ["-o", tmp_path / "out", words[0], words[1], "--weights", other]
    results = model / "logs" / "results_Market1501.npz"
    said = fails(publish, capsys, *given, "--results", results)
    assert "holds other features than the model gives (cosine" in said
    said = fails(publish, capsys, *given, "MODEL.JPM.GLOBAL_ONLY", True, "--results", results)
    assert "has features of 576 numbers, the model gives 192" in said
    said = fails(publish, capsys, *given, "--calibration", folder.parent / "c")
    assert "was calibrated with features of other weights" in said
    assert [file.name for file in tmp_path.iterdir()] == ["other.pth"]


def test_bad_command_lines_end_as_one_message(folder, words, tmp_path, capsys, monkeypatch) -> None:
    cases = [
        (["-o", tmp_path / "x"], "nothing to do"),
        (["-o", tmp_path / "x", *words, "--push", "me/x"], "--push needs --license"),
        (["-o", tmp_path / "x", "--push", "../x"], "no name of a model on the hub"),
        (["-o", tmp_path / "x", "--push", "me/x"], "no folder of published weights"),
        (["-o", folder, *words], "holds published weights already"),
        (["-o", tmp_path / "x", "--weights", words[3]], "is a file, and does not say of what"),
    ]
    for given, message in cases:
        assert message in fails(publish, capsys, *given)
    assert not [*tmp_path.iterdir()]
    pushed = []
    monkeypatch.setattr(publish, "push", lambda *words: pushed.append(words) or "there")
    assert run(publish, "-o", folder, "--push", "me/vit", "--private") == 0
    assert pushed == [(folder, "me/vit", True)]
    assert "pushed to there" in capsys.readouterr().out


def test_fastreids_own_models_travel_too(tiny_cfg, tmp_path) -> None:
    from fastreid.modeling.meta_arch import build_model

    cfg = small_cfg()
    cfg.merge_from_other_cfg(tiny_cfg)
    cfg.MODEL.BACKBONE.PRETRAIN = False
    cfg.MODEL.HEADS.NUM_CLASSES = 4
    cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.BACKBONE.NAME = "Baseline", "build_resnet_backbone"
    cfg.MODEL.HEADS.NAME, cfg.MODEL.SIE.CAMERA = "EmbeddingHead", False
    config = write_config(tmp_path, cfg)
    torch.save({"model": build_model(cfg).state_dict()}, tmp_path / "model.pth")
    given = ["--config-file", config, "--weights", tmp_path / "model.pth"]
    assert run(publish, "-o", tmp_path / "r18", *given) == 0
    again = FeatureExtractor.from_pretrained(tmp_path / "r18", device="cpu")
    before = FeatureExtractor(config, tmp_path / "model.pth", device="cpu")
    image = np.full((64, 32, 3), 99, np.uint8)
    assert again(image).equal(before(image))
    card = (tmp_path / "r18" / published.CARD).read_text()
    assert "The model knows none" in card
    assert "build_resnet_backbone 18x" in card
