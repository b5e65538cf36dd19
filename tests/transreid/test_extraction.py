"""Many images into a file: bad ones left out, killed and resumed to the same bytes."""

from __future__ import annotations

import csv
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from interrupted import Interrupted
from PIL import Image
from reid_common.errors import UserError
from small_inference import picture, small_cfg, write_bad_images, write_model, write_odd_images
from transreid import FeatureExtractor
from transreid.inference.extraction import extract_to_file
from transreid.inference.feature_files import read_features
from transreid.inference.image_lists import ImageItem, list_images

COUNT = 11  # odd images and bad ones


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> str:
    return write_model(tmp_path_factory.mktemp("weights"), small_cfg())


@pytest.fixture
def extractor(weights) -> FeatureExtractor:
    return FeatureExtractor(small_cfg(), weights, device="cpu", batch_size=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("images")
    write_odd_images(root)
    write_bad_images(root)
    return root


def extract(extractor, source, out, **options):
    return extract_to_file(extractor, list_images(source), out, shard_size=3, **options)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_features_are_those_of_the_extractor(extractor, folder, tmp_path, num_workers) -> None:
    out = tmp_path / "f.npz"
    report = extract(extractor, folder, out, num_workers=num_workers)
    features = read_features(out)
    assert len(features) == report.num_images == COUNT - 3
    assert features.paths == sorted(features.paths)
    expected = extractor(features.paths).numpy()
    np.testing.assert_allclose(features.features, expected, rtol=1e-4, atol=1e-6)
    assert features.ids == {}
    assert features.meta["feature_dim"] == extractor.feature_dim
    reasons = {Path(path).stem: reason for path, reason in report.bad}
    assert reasons.keys() == {"bad_truncated", "bad_empty", "bad_text"}
    assert reasons["bad_truncated"].startswith("is truncated")
    with open(tmp_path / "f.npz.bad.csv", newline="") as file:
        assert [(row["image"], row["reason"]) for row in csv.DictReader(file)] == report.bad
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f.npz", "f.npz.bad.csv"]


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
def test_a_killed_run_goes_on_to_the_same_file(
    extractor, folder, tmp_path, monkeypatch, suffix
) -> None:
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    whole, out = tmp_path / f"whole{suffix}", tmp_path / f"f{suffix}"
    extract(extractor, folder, whole)
    assert extractor.feature_dim  # measured with a batch of its own
    done = []
    for batches in (1, 2):
        with monkeypatch.context() as patch:
            patch.setattr(extractor, "extract", Interrupted(extractor.extract, batches))
            with pytest.raises(KeyboardInterrupt):
                extract(extractor, folder, out)
        assert not out.exists()
        done.append(len(list(out.with_name(f"{out.name}.parts").glob("*.npz"))))
    assert done == [1, 2]  # of four shards
    report = extract(extractor, folder, out)
    assert report.resumed == 6
    assert len(report.bad) == 3
    assert out.read_bytes() == whole.read_bytes()
    assert not out.with_name(f"{out.name}.parts").exists()


def test_a_finished_run_is_not_done_again(extractor, folder, tmp_path, monkeypatch) -> None:
    out = tmp_path / "f.npz"
    first = extract(extractor, folder, out)
    monkeypatch.setattr(extractor, "extract", Interrupted(extractor.extract, 0))
    again = extract(extractor, folder, out)
    assert (again.num_images, again.bad) == (first.num_images, first.bad)
    with pytest.raises(KeyboardInterrupt):
        extract(extractor, folder, out, overwrite=True)


def test_other_settings_are_refused_until_overwritten(
    extractor, weights, folder, tmp_path, monkeypatch
) -> None:
    out = tmp_path / "f.npz"
    with monkeypatch.context() as patch:
        patch.setattr(extractor, "extract", Interrupted(extractor.extract, 3))
        with pytest.raises(KeyboardInterrupt):
            extract(extractor, folder, out)
    short = FeatureExtractor(small_cfg(), weights, device="cpu", global_only=True)
    half = FeatureExtractor(small_cfg(), weights, device="cpu", precision="bf16")
    other_weights = FeatureExtractor(
        small_cfg(), write_model(tmp_path, small_cfg(), num_cameras=2), device="cpu"
    )
    items = list_images(folder)
    with pytest.raises(UserError, match="unfinished extraction with another config"):
        extract(short, folder, out)
    with pytest.raises(UserError, match="another precision"):
        extract(half, folder, out)
    with pytest.raises(UserError, match="another shard size"):
        extract_to_file(extractor, items, out, shard_size=4)
    with pytest.raises(UserError, match="another list of images"):
        extract_to_file(extractor, items[1:], out, shard_size=3)
    extract(extractor, folder, out)
    with pytest.raises(UserError, match=r"f\.npz was made with another config, another weights"):
        extract(other_weights, folder, out)
    extract(short, folder, out, overwrite=True)
    assert read_features(out).features.shape[1] == short.feature_dim


def change(image: Path) -> None:
    """Write another picture under the name, of a time that differs on any file system."""
    Image.fromarray(picture(99)).save(image)
    later = image.stat().st_mtime_ns + 10**9
    os.utime(image, ns=(later, later))


def test_a_changed_image_is_not_taken_for_the_old_one(
    extractor, folder, tmp_path, monkeypatch
) -> None:
    images, out = tmp_path / "images", tmp_path / "f.npz"
    shutil.copytree(folder, images)
    with monkeypatch.context() as patch:
        patch.setattr(extractor, "extract", Interrupted(extractor.extract, 3))
        with pytest.raises(KeyboardInterrupt):
            extract(extractor, images, out)
    change(images / "bad_truncated.jpg")  # mended
    with pytest.raises(UserError, match=r"unfinished .* image file has changed.*--overwrite"):
        extract(extractor, images, out)
    report = extract(extractor, images, out, overwrite=True)
    assert (len(report.bad), report.resumed) == (2, 0)
    before = read_features(out)
    change(images / "a.png")  # replaced
    with pytest.raises(UserError, match=r"f\.npz was made .* image file has changed.*--overwrite"):
        extract(extractor, images, out)
    extract(extractor, images, out, overwrite=True)
    after = read_features(out)
    moved = np.abs(after.features - before.features).max(1) > 1e-4
    assert [Path(after.paths[i]).name for i in np.flatnonzero(moved)] == ["a.png"]


def test_a_file_that_goes_away_or_comes_counts_as_changed(extractor, folder, tmp_path) -> None:
    images, out = [tmp_path / "a.png", tmp_path / "b.png"], tmp_path / "f.npz"
    items = [ImageItem(str(image)) for image in images]
    shutil.copy(folder / "a.png", images[0])
    assert len(extract_to_file(extractor, items, out).bad) == 1  # b is not there yet
    assert extract_to_file(extractor, items, out).resumed == 1  # and the same list again
    shutil.copy(folder / "a.png", images[1])
    with pytest.raises(UserError, match="image file has changed"):
        extract_to_file(extractor, items, out)


def test_labels_go_through_to_model_and_file(extractor, folder, tmp_path) -> None:
    path = str(folder / "a.png")
    items = [ImageItem(path, pid=5, camid=camera, viewid=1) for camera in (0, 2, -1)]
    out = tmp_path / "f.npz"
    extract_to_file(extractor, items, out)
    found = read_features(out)
    np.testing.assert_array_equal(found.pids, [5, 5, 5])
    np.testing.assert_array_equal(found.camids, [0, 2, -1])
    np.testing.assert_array_equal(found.viewids, [1, 1, 1])
    expected = extractor([path] * 3, [0, 2, None]).numpy()
    np.testing.assert_allclose(found.features, expected, rtol=1e-4, atol=1e-6)
    with pytest.raises(UserError, match="camids holds 3"):
        extract_to_file(extractor, [ImageItem(path, camid=3)], tmp_path / "g.npz")
    assert not (tmp_path / "g.npz.parts").exists()


def test_nothing_readable_is_an_error_with_a_list(extractor, tmp_path) -> None:
    bad = write_bad_images(tmp_path / "bad")
    with pytest.raises(UserError, match="none of the 3 images can be read"):
        extract(extractor, tmp_path / "bad", tmp_path / "f.npz")
    text = (tmp_path / "f.npz.bad.csv").read_text()
    assert all(path.name in text for path in bad.values())
    # Once they are mended, the list goes.
    for path in bad.values():
        Image.fromarray(picture(0)).save(path)
    assert extract(extractor, tmp_path / "bad", tmp_path / "f.npz").num_images == 3
    assert not (tmp_path / "f.npz.bad.csv").exists()
