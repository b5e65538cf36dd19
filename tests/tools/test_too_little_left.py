"""A command whose result is of nothing, or of far less than was given, fails and counts why."""

from __future__ import annotations

import shutil
from pathlib import Path

import cfs  # noqa: F401  (registers the filters)
import numpy as np
import pytest
from cfs.filters.hook import choose
from cfs.scores.shards import ScoreShards
from PIL import Image
from reid_commands import calibrate, check_data, extract, scores, search
from reid_common.errors import UserError
from reid_core.config import load_config
from small_inference import picture, small_cfg, write_bad_images, write_config, write_model
from tool_runs import fails, run
from transreid.inference.feature_files import FeatureSet, read_features, write_features


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> list[str]:
    folder, cfg = tmp_path_factory.mktemp("model"), small_cfg()
    weights = write_model(folder, cfg)
    words = ["--config-file", write_config(folder, cfg), "--weights", weights, "--device", "cpu"]
    return [*words, "--num-workers", "0"]


@pytest.fixture
def photos(tmp_path) -> Path:
    """Two images, and three files that are none."""
    folder = tmp_path / "photos"
    write_bad_images(folder)
    for number in range(2):
        Image.fromarray(picture(number)).save(folder / f"{number}.png")
    return folder


def test_extract_and_search(model, photos, tmp_path, capsys) -> None:
    out = tmp_path / "f.npz"
    said = fails(extract, capsys, photos, "-o", out, *model)
    assert "3 of the 5 images are left out, more than the share of 0.5" in said
    assert "--max-bad allows a greater share" in said and not out.exists()
    assert run(extract, photos, "-o", out, *model, "--max-bad", 0.6) == 0
    assert len(read_features(out)) == 2
    words = [photos / "0.png", photos, "-o", tmp_path / "results", *model]
    assert "3 of the 5 images" in fails(search, capsys, *words)
    assert run(search, *words, "--max-bad", 0.6, "--rows", 0) == 0

    own = [photos / "0.png", photos / "0.png", "-o", tmp_path / "own", "--rows", 0, *model]
    assert "no query has a neighbour" in fails(search, capsys, *own)
    assert run(search, *own, "--keep-self") == 0
    for number in range(2):
        (photos / f"{number}.png").unlink()
    said = fails(extract, capsys, photos, "-o", tmp_path / "g.npz", *model, "--max-bad", 1)
    assert "none of the 5 images" in said or "none of the 3 images" in said
    assert "Reasons: 1 " in said


@pytest.mark.parametrize("bad, message", [(4, "all of the 4"), (3, "3 of the 4 images are left")])
def test_scores(tmp_path, capsys, monkeypatch, bad: int, message: str) -> None:
    shards = ScoreShards(tmp_path / "scores", {"count": 4, "shard_size": 4, "dataset": ["none"]})
    shards.prepare()
    values = np.where(np.arange(4) < bad, np.nan, 0.5).astype(np.float32)
    reasons = ["empty file" if np.isnan(value) else None for value in values]
    shards.write(0, [f"{i}.jpg" for i in range(4)], values, reasons)
    for name in ("load_config", "open_listing", "share_threads"):
        monkeypatch.setattr(f"reid_commands.scores.score.{name}", lambda *a: load_config())
    monkeypatch.setattr("reid_commands.scores.score.build_pair", lambda *a: (None, None))
    monkeypatch.setattr("reid_commands.scores.score.score_images", lambda *a: shards)
    words = ["score", "--source-weights", "s", "--target-weights", "t", "--config-file", "c"]
    words += ["-o", tmp_path / "scores", "--device", "cpu", "--images", tmp_path]
    said = fails(scores, capsys, *words)
    assert message in said and f"{bad} empty file" in said
    if bad == 3:
        assert not run(scores, *words, "--max-bad", 0.75)
    else:
        out = ["select", "--scores", tmp_path / "scores", "-o", tmp_path / "list.txt"]
        assert "all of the 4 images" in fails(scores, capsys, *out)


def test_calibrate(tmp_path, capsys) -> None:
    values = np.eye(8, dtype=np.float32)
    pids, camids = np.array([0, 0, 1, -1, -1, -1, -1, -1]), np.array([0, 1, 0, 0, 0, 0, 0, 0])
    file = tmp_path / "f.npz"
    write_features(file, FeatureSet([f"{i}.png" for i in range(8)], values, pids, camids))
    words = ["--identities", "--features", file, "--far", 0.5, "-o", tmp_path / "out"]
    said = fails(calibrate, capsys, *words)
    assert "5 of the 8 images" in said and "5 without an identity" in said
    assert run(calibrate, *words, "--max-bad", 0.7) == 0


def test_check_data(tmp_path, capsys) -> None:
    shop = tmp_path / "shop"
    for number in range(4):
        path = shop / f"train/{number // 2}/{number}_c1_.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    said = fails(check_data, capsys, f"FolderReID:{shop}")
    assert "all of the 4 image files are left out (4 empty file)" in said
    Image.fromarray(picture(0)).save(shop / "train/0/0_c1_.png")
    assert "3 of the 4 image files" in fails(check_data, capsys, f"FolderReID:{shop}")
    assert run(check_data, f"FolderReID:{shop}", "--max-bad", 0.8) == 0


def test_filters_of_a_training_set(photos, tmp_path) -> None:
    cfg = load_config()
    cfg.OUTPUT_DIR = str(tmp_path)
    cfg.SOLVER.IMS_PER_BATCH = 1
    cfg.DATASETS.FILTERS = [{"NAME": "ResolutionFilter", "MIN_HEIGHT": 8}]
    bad = [str(path) for path in sorted(photos.glob("bad_[et]*"))]
    good = photos / "0.png"
    shutil.copy(good, tmp_path / "again.png")
    with pytest.raises(UserError, match=r"of the 3 training images .*MAX_UNREADABLE allows"):
        choose(cfg, [*bad[:2], str(good)])
    cfg.DATASETS.MAX_UNREADABLE = 0.7
    assert choose(cfg, [*bad[:2], str(good)]).tolist() == [2]
    cfg.DATASETS.MAX_UNREADABLE = 0.5
    assert choose(cfg, [bad[0], str(good), str(tmp_path / "again.png")]).tolist() == [1, 2]
