"""A published folder gives the features of the run to the bit, and nothing else passes for one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from reid_common import published
from reid_common.digests import file_digest
from reid_common.errors import UserError
from small_inference import DIM, PARTS, picture, small_cfg, write_config, write_model
from transreid import FeatureExtractor
from transreid.publish.writing import Sources, started_from, write_published

NAMES = {"DATASETS__NAMES": "('FolderReID:/home/me/shop',)", "MODEL__SIE__VIEW": True}


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> tuple[str, str]:
    """Config and weights of 3 cameras and 2 viewpoints, one camera and one pair not trained."""
    folder = tmp_path_factory.mktemp("run")
    options = {"MODEL__HEADS__TEST_NECK_FEAT": "centered", "DATASETS__CAMERAS": "('shop:3',)"}
    cfg = small_cfg(**NAMES, **options)
    weights = write_model(folder, cfg)
    content = torch.load(weights)
    state = content["model"]
    state["backbone.sie.trained_rows"] = torch.tensor([1, 1, 1, 0, 0, 0], dtype=torch.uint8)
    for key in state:
        if key.endswith("running_mean"):
            state[key] = torch.randn(DIM)
    torch.save(content, weights)
    cfg.OUTPUT_DIR = str(folder)
    return write_config(folder, cfg), weights


@pytest.fixture(scope="module")
def folder(run, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("published") / "shop-vit"
    write_published(out, Sources(*run))
    return out


@pytest.fixture
def copied(folder, tmp_path) -> Path:
    return shutil.copytree(folder, tmp_path / "copy")


def same_features(one: FeatureExtractor, other: FeatureExtractor) -> bool:
    images = [picture(seed, (70, 41)) for seed in range(4)]
    rows = [0, 0, 1, None], [0, 1, 0, None]
    return torch.equal(one(images, *rows), other(images, *rows))


def test_features_are_equal_to_the_bit(run, folder) -> None:
    before = FeatureExtractor(*run, device="cpu")
    again = FeatureExtractor.from_pretrained(folder, device="cpu")
    assert again.feature_dim == (PARTS + 1) * DIM
    assert same_features(before, again)
    assert again.cameras == ("shop:3",)
    states = before.model.state_dict(), again.model.state_dict()
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    for extractor in (before, again):  # the record has travelled: what is not trained is refused
        with pytest.raises(UserError, match=r"training images of the model are of \[0, 1\] alone"):
            extractor(picture(0), 2)
    # The file alone, under the run's config, and through the config's own key
    for weights in (folder, folder / published.WEIGHTS):
        assert same_features(before, FeatureExtractor(run[0], weights, device="cpu"))
    options = ["MODEL.WEIGHTS", str(folder)]
    assert same_features(before, FeatureExtractor(run[0], device="cpu", options=options))


def test_options_change_the_model_as_ever(run, folder) -> None:
    options = ["MODEL.HEADS.TEST_NECK_FEAT", "after"]
    again = FeatureExtractor.from_pretrained(folder, device="cpu", options=options)
    assert same_features(again, FeatureExtractor(*run, device="cpu", options=options))
    short = FeatureExtractor.from_pretrained(folder, device="cpu", global_only=True)
    assert short.feature_dim == DIM


def test_what_is_in_the_folder(run, folder) -> None:
    assert {file.name for file in folder.iterdir()} == set(published.FILES) - {published.THRESHOLD}
    manifest = json.loads((folder / published.MANIFEST).read_text())
    cfg = small_cfg()
    assert (manifest["size"], manifest["interpolation"]) == ([64, 32], "bicubic")
    assert (manifest["color"], manifest["range"], manifest["crop"]) == ("RGB", [0, 255], None)
    assert (manifest["mean"], manifest["std"]) == (cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD)
    card = (folder / published.CARD).read_text()
    front = yaml.safe_load(card.split("---")[1])
    assert front["license"] == "FILL IN"
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in card.splitlines()]
    assert ["identities", "5"] in lines
    assert ["data sets", "FolderReID:shop"] in lines
    assert "shop, camera 2" in card and 'from_pretrained("shop-vit")' in card
    assert [line[2] for line in lines if "shop, camera" in "".join(line)] == ["yes", "yes", "no"]
    for file in folder.iterdir():
        content = file.read_bytes()
        assert b"/home/me" not in content, file
        assert str(Path(run[0]).parent).encode() not in content, file


def cut(folder: Path) -> None:
    file = folder / published.WEIGHTS
    file.write_bytes(file.read_bytes()[:-100])


def flip_a_bit(folder: Path) -> None:
    file = folder / published.WEIGHTS
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def other_neck(folder: Path) -> None:
    file = folder / published.CONFIG
    file.write_text(file.read_text().replace("NECK_FEAT: centered", "NECK_FEAT: after"))


def change_manifest(change: Callable[[dict], None]) -> Callable[[Path], None]:
    def changed(folder: Path) -> None:
        file = folder / published.MANIFEST
        content = json.loads(file.read_text())
        change(content)
        file.write_text(json.dumps(content))

    return changed


def new_config(text: str) -> Callable[[Path], None]:
    """Another config, with its hash: as from somebody who means it."""

    def changed(folder: Path) -> None:
        file = folder / published.CONFIG
        file.write_text(text)
        entry = {"bytes": file.stat().st_size, "sha256": file_digest(file)}
        change_manifest(lambda manifest: manifest["files"].update({file.name: entry}))(folder)

    return changed


def no_manifest(folder: Path) -> None:
    (folder / published.MANIFEST).unlink()


CASES = {
    "cut": (cut, "model.safetensors' has .* bytes, preprocess.json says"),
    "a bit": (flip_a_bit, "model.safetensors' is not the file that was published"),
    "another config": (other_neck, "config.yaml' has .* bytes"),
    "no weights": (lambda f: (f / published.WEIGHTS).unlink(), "no checkpoint|is missing"),
    "no config": (lambda f: (f / published.CONFIG).unlink(), "config.yaml' is missing"),
    "no manifest": (no_manifest, "no folder of published weights: it has no preprocess.json"),
    "no JSON": (lambda f: (f / published.MANIFEST).write_text("{"), "cannot be read"),
    "a list": (lambda f: (f / published.MANIFEST).write_text("[]"), "was not written by"),
    "another's": (change_manifest(lambda m: m.pop("format")), "was not written by"),
    "later": (change_manifest(lambda m: m.update(version=2)), "is of version 2, .* knows 1"),
    "other pixels": (change_manifest(lambda m: m.update(range=[0, 1])), r"range is \[0, 1\], but"),
    "traversal": (
        change_manifest(lambda m: m["files"].update({"../model.pth": {}})),
        r"lists the file '../model.pth'; .* nothing outside of it is read",
    ),
    "not listed": (
        lambda f: (f / published.THRESHOLD).write_text("{}"),
        "threshold.json' is not listed",
    ),
    "a base": (new_config("_BASE_: ../../secret.yml\n"), "names another file"),
    "a tag": (new_config("MODEL: !!python/object/apply:os.getcwd []\n"), "is no plain YAML"),
    "no key": (new_config("[]\n"), "has no keys"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_not_the_published_folder_is_refused(copied, case) -> None:
    change, message = CASES[case]
    change(copied)
    with pytest.raises(UserError, match=message):
        FeatureExtractor.from_pretrained(copied, device="cpu")


def test_changed_weights_are_refused_wherever_they_are_named(run, copied) -> None:
    flip_a_bit(copied)
    for weights in (copied, copied / published.WEIGHTS):
        with pytest.raises(UserError, match="is not the file that was published"):
            FeatureExtractor(run[0], weights, device="cpu")


def test_a_folder_in_the_way_is_not_replaced(run, folder, tmp_path) -> None:
    with pytest.raises(UserError, match=r"holds published weights already; .* --overwrite"):
        write_published(folder, Sources(*run))
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(UserError, match="is no folder of published weights: it is not replaced"):
        write_published(tmp_path, Sources(*run), overwrite=True)
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.txt"]


def test_published_weights_are_published_again(folder, tmp_path) -> None:
    out = tmp_path / "again"
    write_published(out, Sources("", str(folder), license="mit"))
    write_published(out, Sources("", str(folder), license="mit"), overwrite=True)
    assert [file.name for file in tmp_path.iterdir()] == ["again"]
    hashes = [file_digest(place / published.WEIGHTS) for place in (folder, out)]
    assert hashes[0] == hashes[1]
    card = (out / published.CARD).read_text()
    assert "FILL IN" not in card
    assert "random weights" not in card, "the published config does not say what it started from"


def test_what_a_run_started_from() -> None:
    cfg = small_cfg()
    assert started_from(cfg, "model.pth") == "random weights"
    cfg.MODEL.BACKBONE.PRETRAIN = True
    assert started_from(cfg, "model.pth") == "pretrained weights of vit_tiny_patch16_224"
    cfg.MODEL.BACKBONE.PRETRAIN_PATH = "/home/me/dino.pth"
    assert started_from(cfg, "model.pth") == "dino.pth"
    cfg.MODEL.WEIGHTS = "logs/model.pth"
    assert started_from(cfg, "logs/../logs/model.pth") == "dino.pth"
    assert started_from(cfg, "model.pth") == "model.pth"


def test_the_length_of_a_feature_takes_a_row_that_was_trained(run) -> None:
    options = ["MODEL.SIE.UNKNOWN", "error"]
    record = torch.tensor([0, 0, 0, 1, 0, 0], dtype=torch.uint8)
    content = torch.load(run[1])
    content["model"]["backbone.sie.trained_rows"] = record
    other = Path(run[1]).with_name("second_camera.pth")
    torch.save(content, other)
    extractor = FeatureExtractor(run[0], other, device="cpu", options=options)
    assert extractor.known_ids == (1, 1)
    assert extractor.feature_dim == (PARTS + 1) * DIM
