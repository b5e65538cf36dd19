"""Released person backbones give the features of the released code, as first weights and whole."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from person_backbones import PersonBackbone, model_of, pixels_of, small_vit, spread
from reid_common.errors import UserError
from timm.layers import QuickGELU
from torch import Tensor, nn
from transreid import CLIPReIDHead, TransReID, TransReIDBackbone, load_weights
from transreid.modeling.side_embedding import SideInformationEmbedding
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


@pytest.fixture(scope="module")
def clip_reid() -> PersonBackbone:
    return PersonBackbone("clip_reid")


def clip_model(
    golden: PersonBackbone,
    stride: int = 16,
    cameras: int = 0,
    feat: str = "before",
    pixels: float = 127.5,
    **options: object,
) -> TransReID:
    """The tower of the golden file; ``options`` change its ViT, or the backbone's SIE."""
    meta = {**golden.meta, "dim": golden.meta["width"]}
    backbone: dict[str, object] = {"projection": meta["proj"]}
    if cameras:
        backbone["sie"] = SideInformationEmbedding(cameras, 0, meta["dim"], meta["sie_coe"])
        backbone["sie_tokens"] = options.pop("sie_tokens", "cls")
    meta["heads"] = options.pop("heads", meta["heads"])
    meta["ln_eps"] = options.pop("eps", meta["ln_eps"])
    vit = small_vit(meta, **{"pre_norm": True, "act_layer": QuickGELU, **options})
    head = CLIPReIDHead(
        feat_dim=meta["dim"], projection=meta["proj"], num_classes=7, test_neck_feat=feat
    )
    return model_of(vit, meta["size"], stride, head, pixels, **backbone)


CLIP_FORMS = {"plain": {}, "sie_stride12": {"stride": 12, "cameras": 3}}


@pytest.mark.parametrize("form", CLIP_FORMS)
def test_a_released_clip_reid(form: str, clip_reid: PersonBackbone, tmp_path: Path) -> None:
    """Feature and projection side by side, classifiers, and [cls] before the last block."""
    model = clip_model(clip_reid, **CLIP_FORMS[form])
    path = saved(clip_reid.state(form), tmp_path)
    assert read_weights(path).num_classes == 7
    report = load_weights(model, path)
    assert report.missing == report.skipped == [] and report.kind == "released CLIP-ReID"
    images, expected = clip_reid.images(3, clip_reid.meta["size"]), clip_reid.arrays
    ids = {"camids": expected["camids"]} if form != "plain" else {}
    assert spread(features(model, images, **ids), expected[f"{form}/before"]) < TOLERANCE
    model.heads.test_neck_feat = "after"
    assert spread(features(model, images, **ids), expected[f"{form}/after"]) < TOLERANCE
    with torch.no_grad():
        inner = model.backbone.forward_projected(images, **ids)[0]
        tokens = model.backbone.forward_features(images, **ids)[:1]
        outputs = model.train().heads(
            model.backbone.forward_projected(images, **ids), torch.arange(3)
        )
    assert spread(inner, expected[f"{form}/block11"]) < TOLERANCE
    assert spread(tokens, expected[f"{form}/tokens"]) < TOLERANCE
    scores = [outputs["cls_outputs"], outputs["local"][0]["cls_outputs"]]
    for number, score in enumerate(scores):
        assert spread(score, expected[f"{form}/train_score{number}"]) < TOLERANCE


@pytest.mark.parametrize("stride", [16, 12])
def test_an_openai_file(stride: int, clip_reid: PersonBackbone, tmp_path: Path) -> None:
    """First weights: the projection comes along, positions of 5x5 are resized."""
    backbone = clip_model(clip_reid, stride).backbone.eval()
    path = saved(clip_reid.state("openai"), tmp_path)
    with pytest.raises(UserError, match="PRETRAIN_GRID"):
        load_weights(backbone, path)
    report = load_weights(backbone, path, clip_reid.meta["openai_grid"])
    assert report.missing == report.skipped == []
    expected = clip_reid.arrays
    assert spread(backbone.pos_embed[0], expected[f"init_stride{stride}_pos"]) < TOLERANCE
    with torch.no_grad():
        parts = backbone.forward_projected(clip_reid.images(3, clip_reid.meta["size"]))[1:]
    assert spread(torch.cat(parts, 1), expected[f"init_stride{stride}"]) < TOLERANCE


WRONG = {
    "heads": ({"heads": 4}, r"trained with 2 heads, this model has 4.*NUM_HEADS 2"),
    "gelu": ({"act_layer": nn.GELU}, r"QuickGELU in its MLPs, this model GELU.*clip_quickgelu"),
    "eps": ({"eps": 1e-6}, r"epsilon 1e-05, this model 1e-06"),
    "sie": ({"sie_tokens": "all"}, r"\[cls\] alone; set MODEL.SIE.TOKENS cls"),
    "pixels": ({"pixels": 100.0}, r"Set MODEL.PIXEL_MEAN \[127.5, 127.5, 127.5\]"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_reading_is_refused(wrong: str, clip_reid: PersonBackbone, tmp_path: Path) -> None:
    options, message = WRONG[wrong]
    model = clip_model(clip_reid, stride=12, cameras=3, **options)
    before = model.backbone.norm.weight.clone()
    with pytest.raises(UserError, match=message):
        load_weights(model, saved(clip_reid.state("sie_stride12"), tmp_path))
    assert torch.equal(model.backbone.norm.weight, before)


def test_half_precision_and_a_scripted_file(clip_reid: PersonBackbone, tmp_path: Path) -> None:
    """As OpenAI's are: halves are read, and a program is not run, but told how to convert."""
    state = {k: v.half() if v.ndim else v for k, v in clip_reid.state("openai").items()}
    backbone = clip_model(clip_reid).backbone
    load_weights(backbone, saved(state, tmp_path), (5, 5))
    assert backbone.norm.weight.dtype == torch.float32
    torch.jit.script(nn.Linear(1, 1)).save(tmp_path / "ViT-B-16.pt")
    with pytest.raises(UserError, match=r"TorchScript.*torch\.jit\.load.*state_dict"):
        read_weights(str(tmp_path / "ViT-B-16.pt"))
