"""extract_features.py, search.py and calibrate.py as a user calls them, one after the other."""

from __future__ import annotations

import csv
import json
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from python_forks import start
from reid_commands import calibrate, search
from reid_commands import extract as extract_features
from small_inference import DIM, picture, small_cfg, write_bad_images, write_config, write_model
from tool_runs import fails, run
from transreid import FeatureExtractor
from transreid.inference.feature_files import (
    FeatureSet,
    read_features,
    read_ranking,
    write_features,
)

ROOT = Path(__file__).parents[2]
NUM_IDS, PER_ID = 4, 3


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> list[str]:
    folder = tmp_path_factory.mktemp("model")
    cfg = small_cfg()
    weights = write_model(folder, cfg)
    return ["--config-file", write_config(folder, cfg), "--weights", weights, "--device", "cpu"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """Four persons, three near copies of each."""
    folder = tmp_path_factory.mktemp("photos")
    for identity in range(NUM_IDS):
        for number in range(PER_ID):
            noise = picture(100 * identity + number).astype(int) // 16
            pixels = np.clip(picture(identity).astype(int) + noise, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"p{identity}_{number}.png")
    return folder


def labels(photos: Path, file: Path) -> Path:
    """A training table: its cameras have no numbers, and one column is nobody's."""
    paths = sorted(photos.glob("*.png"))
    rows = [[path, path.name[:2], "train", "", f"{path.name}, taken by day"] for path in paths]
    with open(file, "w", newline="") as out:
        csv.writer(out).writerows([["image", "identity", "split", "camera", "note"], *rows])
    return file


def test_extract_search_calibrate(model, photos, tmp_path, capsys) -> None:
    listed = labels(photos, tmp_path / "list.csv")
    out = tmp_path / "f.npz"
    words = ["--num-workers", 0, "--batch-size", 5, *model]
    assert run(extract_features, listed, "-o", out, *words) == 0
    assert f"12 features of {3 * DIM} numbers" in capsys.readouterr().out
    features = read_features(out)
    assert len(np.unique(features.pids)) == NUM_IDS

    results = tmp_path / "results"
    assert run(search, out, out, "-o", results, "--top", 2, "--rows", 3) == 0
    ranking = read_ranking(results / "ranking.npz")
    np.testing.assert_array_equal(
        ranking.gallery_pids[ranking.indices], np.repeat(ranking.query_pids[:, None], 2, 1)
    )
    assert not (ranking.indices == np.arange(12)[:, None]).any()
    assert "p0_1.png" in capsys.readouterr().out
    with Image.open(results / "ranks.png") as image:
        assert image.width > 100

    folder = tmp_path / "calibration"
    assert run(calibrate, "--identities", "--features", out, "--far", 0.1, 1e-3, "-o", folder) == 0
    text = capsys.readouterr().out
    assert "12 positive and 54 negative pairs" in text
    assert "WARNING: 54 negative pairs cannot support a FAR of 0.001" in text
    result = json.loads((folder / "calibration.json").read_text())
    assert [point["wanted_far"] for point in result["points"]] == [0.1, 0.001]
    assert result["points"][1]["tar"] == 1.0, "near copies are told apart from other persons"
    threshold = result["points"][1]["threshold"]
    same = features.pids[:, None] == features.pids
    cosines = features.features @ features.features.T
    rounding = 1e-6  # another order of summing
    assert (cosines[same] > threshold - rounding).all()
    assert (cosines[~same] < threshold + rounding).all()
    with Image.open(folder / "roc.png") as image:
        assert image.width > 100


def test_global_only_and_one_camera_for_all(model, photos, tmp_path) -> None:
    out = tmp_path / "f.npz"
    words = ["--num-workers", 0, "--global-only", "--camera", 2, *model]
    assert run(extract_features, photos, "-o", out, *words, "TEST.FLIP.ENABLED", "True") == 0
    features = read_features(out)
    assert (features.camids == 2).all()
    options = ["TEST.FLIP.ENABLED", True]
    extractor = FeatureExtractor(
        model[1], model[3], device="cpu", global_only=True, options=options
    )
    expected = extractor(features.paths, 2).numpy()
    np.testing.assert_allclose(features.features, expected, rtol=1e-4, atol=1e-6)


def test_bad_images_are_named_and_strict_says_so(model, photos, tmp_path, capsys) -> None:
    folder = tmp_path / "all"
    shutil.copytree(photos, folder)
    bad = write_bad_images(folder)
    words = [folder, "-o", tmp_path / "f.npz", "--num-workers", 0, *model]
    assert run(extract_features, *words) == 0
    said = capsys.readouterr().err
    assert "3 of 15 images left out" in said
    assert f"{bad['truncated']}: is truncated" in said
    assert run(extract_features, *words, "--strict") == 1
    assert "3 of 15 images left out" in capsys.readouterr().err


def test_search_extracts_images_on_the_way(model, photos, tmp_path, capsys) -> None:
    words = [photos, "-o", tmp_path, "--top", 3, "--rows", 1, "--num-workers", 0, *model]
    for name in ("p1_0.png", "p2_1.png"):  # the second time the gallery is there already
        assert run(search, photos / name, *words) == 0
        ranking = read_ranking(tmp_path / "ranking.npz")
        assert ranking.query_paths == [str(photos / name)]
        found = [Path(ranking.gallery_paths[i]).name for i in ranking.indices[0]]
        others = {f"{name[:2]}_{number}.png" for number in range(PER_ID)} - {name}
        assert set(found[:2]) == others
    assert run(search, photos / name, *words, "--keep-self") == 0
    ranking = read_ranking(tmp_path / "ranking.npz")
    assert ranking.gallery_paths[ranking.indices[0, 0]] == str(photos / name)
    np.testing.assert_allclose(ranking.similarities[0, 0], 1, rtol=1e-5)


def test_ctrl_c_says_what_to_do(model, photos, tmp_path, capsys, monkeypatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(extract_features, "extract_to_file", interrupted)
    assert run(extract_features, photos, "-o", tmp_path / "f.npz", *model) == 130
    assert "the same command resumes" in capsys.readouterr().err


def test_search_goes_without_a_picture_where_images_have_gone(
    model, photos, tmp_path, capsys
) -> None:
    folder = tmp_path / "photos"
    shutil.copytree(photos, folder)
    out = tmp_path / "f.npz"
    run(extract_features, folder, "-o", out, "--num-workers", 0, *model)
    shutil.rmtree(folder)
    assert run(search, out, out, "-o", tmp_path) == 0
    assert "no picture:" in capsys.readouterr().err
    assert (tmp_path / "ranking.npz").exists()


def test_calibrate_reads_labelled_pairs(model, photos, tmp_path, capsys) -> None:
    out = tmp_path / "f.npz"
    run(extract_features, photos, "-o", out, "--num-workers", 0, *model)
    pairs = photos / "pairs.csv"  # names relative to its folder
    rows = ["p0_0.png,p0_1.png,1", "p0_0.png,p1_0.png,0", "p2_0.png,p3_1.png,0"]
    pairs.write_text("image_a,image_b,same\n" + "\n".join(rows))
    options = ["--features", out, "--far", 0.5, "-o", tmp_path / "c"]
    assert run(calibrate, pairs, *options) == 0
    point = json.loads((tmp_path / "c" / "calibration.json").read_text())["points"][0]
    assert (point["num_positive"], point["num_negative"]) == (1, 2)
    assert (point["far"], point["tar"], point["supported"]) == (0.5, 1.0, True)

    pairs.write_text("image_a,image_b,same\np0_0.png,p9_9.png,1\n")
    assert "line 2: 'p9_9.png' is not in the feature file" in fails(
        calibrate, capsys, pairs, *options
    )
    pairs.write_text("image_a,image_b,same\np0_0.png,p0_1.png,yes\n")
    assert "line 2: same is 'yes'" in fails(calibrate, capsys, pairs, *options)
    pairs.write_text("image_a,image_b,same\np0_0.png,p0_1.png,1\n")
    assert "needs both" in fails(calibrate, capsys, pairs, *options)
    assert "either a CSV" in fails(calibrate, capsys, *options)
    assert "holds no identities" in fails(calibrate, capsys, "--identities", *options)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            ["p0_0.png,p1_0.png,0", "p0_0.png,p0_0.png,1"],
            "line 3: 'p0_0.png' is paired with itself",
        ),
        (["p0_0.png,p0_1.png,1", "p0_0.png,p0_1.png,0"], "line 3: 'p0_0.png' and 'p0_1.png' have"),
        (["p0_0.png,p0_1.png,1", "p0_1.png,p0_0.png,0"], "and 1 in {pairs}, line 2"),
    ],
)
def test_calibrate_refuses_pairs_that_contradict(tmp_path, capsys, rows, message) -> None:
    names = [str(tmp_path / name) for name in ("p0_0.png", "p0_1.png", "p1_0.png")]
    out, pairs = tmp_path / "f.npz", tmp_path / "pairs.csv"
    write_features(out, FeatureSet(names, np.eye(3, dtype=np.float32)))
    pairs.write_text("image_a,image_b,same\n" + "\n".join(rows))
    said = fails(calibrate, capsys, pairs, "--features", out, "-o", tmp_path / "c")
    assert message.format(pairs=pairs) in said
    assert not (tmp_path / "c").exists()


def test_bad_command_lines_end_as_one_message(model, photos, tmp_path, capsys) -> None:
    out = tmp_path / "f.npz"
    cases = [
        (extract_features, [photos, "-o", out], "--config-file is missing"),
        (extract_features, [photos, "-o", tmp_path / "f.txt", *model], "end it in .npz"),
        (extract_features, [tmp_path / "no", "-o", out, *model], "no image, folder or list"),
        (extract_features, [photos, "-o", out, *model, "--camera", 3], "knows 0..2"),
        (extract_features, [photos, "-o", out, *model, "MODEL.NAME", "x"], "no key MODEL.NAME"),
        (search, [out, photos, "-o", tmp_path / "r", *model], "no feature file"),
        (search, [photos, tmp_path / "no", "-o", tmp_path / "r", *model], "no image, folder"),
        (search, [photos, photos, "-o", tmp_path / "r", *model, "--top", 0], "--top is 0"),
        (calibrate, ["--identities", "--features", out], "no feature file"),
        (calibrate, ["--identities", "--features", out, "--far", 2], "between 0 and 1"),
    ]
    for tool, words, message in cases:
        said = fails(tool, capsys, *words)
        assert said.startswith("error: ")
        assert message in said
    assert not list(tmp_path.iterdir()), "nothing is begun"


def test_a_sigkilled_run_goes_on(model, tmp_path) -> None:
    """The real thing: another process, SIGKILL, the same command again."""
    for number in range(20):
        Image.fromarray(picture(number, (300, 150))).save(tmp_path / f"{number}.png")
    listed = tmp_path / "list.txt"  # 75 shards: the process that watches may be slow
    listed.write_text("\n".join(f"{number % 20}.png" for number in range(300)))
    out, whole = tmp_path / "f.npz", tmp_path / "whole.npz"
    options = ["--num-workers", "0", "--batch-size", "4", "--shard-size", "4", *model]
    words = [str(listed), "-o", str(out), *options]
    tool = str(ROOT / "tools" / "extract_features.py")
    process = start(tool, *words)
    parts = tmp_path / "f.npz.parts"
    while process.returncode is None and len(list(parts.glob("*.npz"))) < 2:
        time.sleep(0.01)
    process.kill()
    process.finish()
    assert not out.exists(), "the run was over before it could be killed"
    assert len(list(parts.glob("*.npz"))) >= 2
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the other process: sums over several threads round otherwise
    try:
        assert run(extract_features, *words) == 0
        assert run(extract_features, listed, "-o", whole, *options) == 0
    finally:
        torch.set_num_threads(threads)
    assert out.read_bytes() == whole.read_bytes()
    assert not parts.exists()
