"""Published weights by their name on the hub: from its cache without a network; and pushed."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import ClassVar

import huggingface_hub
import pytest
from huggingface_hub import constants
from reid_common import published
from reid_common.errors import UserError
from small_inference import picture, small_cfg, write_config, write_model
from transreid import FeatureExtractor
from transreid.publish.writing import Sources, write_published
from transreid.weights import hub

REVISION = "0" * 40


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("run")
    cfg = small_cfg(MODEL__SIE__CAMERA=False, MODEL__HEADS__NAME="BNNeckHead")
    out = place / "vit"
    write_published(out, Sources(write_config(place, cfg), write_model(place, cfg)))
    return out


@pytest.fixture
def cache(folder, tmp_path, monkeypatch) -> Path:
    """The cache of huggingface_hub, with the folder as me/vit: links to blobs; no network."""
    model = tmp_path / "models--me--vit"
    snapshot = model / "snapshots" / REVISION
    for place in (model / "blobs", model / "refs", snapshot):
        place.mkdir(parents=True)
    for file in folder.iterdir():
        shutil.copy(file, model / "blobs" / file.name)
        (snapshot / file.name).symlink_to(Path("../../blobs") / file.name)
    (model / "refs" / "main").write_text(REVISION)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return model


def test_a_model_of_the_cache_needs_no_network(cache, folder) -> None:
    image = picture(0)
    expected = FeatureExtractor.from_pretrained(folder, device="cpu")(image)
    for revision in (None, "main", REVISION):
        found = FeatureExtractor.from_pretrained("me/vit", revision=revision, device="cpu")
        assert found(image).equal(expected)
    weights = cache / "blobs" / published.WEIGHTS
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(UserError, match="has 100 bytes"):
        FeatureExtractor.from_pretrained("me/vit", device="cpu")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("me/other", "HF_HUB_OFFLINE is set, and it is not in the cache"),
        ("../me/vit", "there is no folder '../me/vit', and it is no name"),
        ("me/..", "no name of a model on the hub"),
        ("/me/vit", "no name of a model on the hub"),
        ("me/vit/more", "no name of a model on the hub"),
        ("logs/model_final.pth", "no name of a model on the hub"),
        ("https://me/vit", "no name of a model on the hub"),
        ("", "there is no folder ''"),
    ],
)
def test_names_of_no_model(cache, name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        FeatureExtractor.from_pretrained(name)


def test_a_revision_stays_in_the_cache(cache) -> None:
    with pytest.raises(UserError, match=r"revision '\.\./main' is no branch"):
        FeatureExtractor.from_pretrained("me/vit", revision="../main")


def test_a_hub_that_does_not_answer_is_named(cache, monkeypatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("transreid.weights.pretrained.answers", lambda url: False)
    with pytest.raises(UserError, match="does not answer, and it is not in the cache"):
        FeatureExtractor.from_pretrained("me/other")
    FeatureExtractor.from_pretrained("me/vit", device="cpu")  # from the cache


def test_without_the_package_a_folder_still_works(folder, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match="pip install huggingface_hub"):
        hub.find_published("me/vit")
    assert hub.find_published(folder) == folder


class Client:
    """What is asked of the hub."""

    calls: ClassVar[list[tuple[str, dict]]] = []

    def create_repo(self, name: str, **options: object) -> str:
        self.calls.append((name, options))
        return f"https://huggingface.co/{name}"

    def upload_folder(self, repo_id: str, **options: object) -> None:
        self.calls.append((repo_id, options))
        if repo_id == "you/vit":
            raise OSError("403 Forbidden")


def test_push(folder, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(huggingface_hub, "HfApi", Client)
    out = shutil.copytree(folder, tmp_path / "vit")
    with pytest.raises(UserError, match="does not say under what licence"):
        hub.check_pushable(out, "me/vit")
    card = out / published.CARD
    card.write_text(card.read_text().replace(hub.FILL_IN, "mit"))
    hub.check_pushable(out, "me/vit")
    assert hub.push(out, "me/vit", private=True) == "https://huggingface.co/me/vit"
    (_, created), (name, sent) = Client.calls
    assert created == {"private": True, "exist_ok": True}
    assert (name, sent["folder_path"]) == ("me/vit", out)
    assert sent["allow_patterns"] == [*published.FILES], "nothing else of the folder is sent"
    with pytest.raises(UserError, match=r"cannot be pushed as 'you/vit': 403 Forbidden"):
        hub.push(out, "you/vit")
    (out / published.WEIGHTS).unlink()
    with pytest.raises(UserError, match="is missing"):
        hub.check_pushable(out, "me/vit")
