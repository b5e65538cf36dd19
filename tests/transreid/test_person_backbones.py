"""Released person backbones give the features of the released code, as first weights and whole."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from person_backbones import PersonBackbone, model_of, pixels_of, small_vit, spread
from torch import Tensor, nn
from transreid import TransReIDBackbone, load_weights
from transreid.weights.formats import read_weights

TOLERANCE = 1e-4  # of the features' standard deviation
SIZES = {"256": ((256, 128), 16), "384": ((384, 128), 16), "stride12": ((256, 128), 12)}


def saved(state: object, folder: Path) -> str:
    torch.save(state, folder / "weights.pth")
    return str(folder / "weights.pth")


@torch.no_grad()
def features(model: nn.Module, images: Tensor, **ids: Tensor) -> Tensor:
    """Test features of a whole model, of normalised images."""
    return model({"images": pixels_of(images), **ids})


@pytest.fixture(scope="module")
def personvit() -> PersonBackbone:
    return PersonBackbone("personvit")


@pytest.mark.parametrize("feat", ["before", "after"])
def test_a_fine_tuned_personvit(feat: str, personvit: PersonBackbone, tmp_path: Path) -> None:
    model = model_of(small_vit(personvit.meta), (256, 128))
    model.heads.test_neck_feat = feat
    report = load_weights(model, saved(personvit.state("finetuned"), tmp_path))
    assert report.missing == ["heads.neck.classifier.weight"]
    got = features(model, personvit.images(3, (256, 128)))
    assert spread(got, personvit.arrays[f"finetuned/{feat}"]) < TOLERANCE


@pytest.mark.parametrize("case", SIZES)
def test_a_pre_trained_personvit(case: str, personvit: PersonBackbone, tmp_path: Path) -> None:
    """The teacher of a whole iBOT checkpoint, its 16x8 positions resized where they must be."""
    size, stride = SIZES[case]
    backbone = TransReIDBackbone(small_vit(personvit.meta), size, (stride, stride)).eval()
    path = saved(personvit.state("pretrain"), tmp_path)
    assert "iBOT" in read_weights(path).kind
    report = load_weights(backbone, path)
    assert report.missing == [] and bool(report.resized) == (case != "256")
    with torch.no_grad():
        got = backbone(personvit.images(3, size))[:, :, 0, 0]
    assert spread(got, personvit.arrays[f"pretrain/{case}"]) < TOLERANCE
