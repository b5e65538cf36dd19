"""Released person backbones give the features of the released code, as first weights and whole."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from person_backbones import PersonBackbone, model_of, pixels_of, small_vit, spread
from reid_common.errors import UserError
from timm.layers import QuickGELU
from torch import Tensor, nn
from transreid import CLIPReIDHead, PartTokenHead, TransReID, TransReIDBackbone, load_weights
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
    assert spread(backbone.pos_embed[0].detach(), expected[f"init_stride{stride}_pos"]) < TOLERANCE
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


@pytest.fixture(scope="module")
def part_pass() -> PersonBackbone:
    return PersonBackbone("pass")


def pass_vit(golden: PersonBackbone, parts: int = 3) -> nn.Module:
    tokens = {"reg_tokens": parts, "no_embed_class": False} if parts else {}
    return small_vit(golden.meta, **tokens)


PASS_FORMS = {
    "cat": {"mix": "cat", "necks": "each"},
    "mean": {"mix": "mean", "necks": "each"},
    "cat_single": {"mix": "cat", "necks": "one"},
    "mean_single": {"mix": "mean", "necks": "one"},
}


@pytest.mark.parametrize("form", PASS_FORMS)
def test_a_fine_tuned_pass(form: str, part_pass: PersonBackbone, tmp_path: Path) -> None:
    """Both mixes, with BN of each token or of the mix; the classifier is of the mix."""
    head = PartTokenHead(feat_dim=48, num_parts=3, num_classes=7, **PASS_FORMS[form])
    model = model_of(pass_vit(part_pass), (256, 128), head=head)
    path = saved(part_pass.state(form), tmp_path)
    assert read_weights(path).num_classes == 7
    report = load_weights(model, path)
    assert report.missing == report.skipped == [] and report.kind == "released PASS model"
    images = part_pass.images(3, (256, 128))
    for feat in ("before", "after"):
        head.test_neck_feat = feat
        assert spread(features(model, images), part_pass.arrays[f"{form}/{feat}"]) < TOLERANCE
    head.test_neck_feat = "centered"
    with torch.no_grad():
        tokens = model.backbone.forward_features(images)[:, :4]
    if form == "cat":
        assert spread(tokens, part_pass.arrays["tokens"]) < TOLERANCE
        means = torch.stack([norm.running_mean for norm in head.neck.bottleneck.norms])
        expected = torch.cat([(tokens - means)[:, 0], (tokens - means)[:, 1:].mean(1)], 1)
        assert spread(features(model, images), expected) < TOLERANCE


@pytest.mark.parametrize("form", ["teacher", "bare"])
@pytest.mark.parametrize("height", [256, 384])
def test_a_pre_trained_pass(
    form: str, height: int, part_pass: PersonBackbone, tmp_path: Path
) -> None:
    backbone = TransReIDBackbone(pass_vit(part_pass), (height, 128)).eval()
    state = part_pass.state("pretrain" if form == "teacher" else "pretrain_bare")
    report = load_weights(backbone, saved(state, tmp_path))
    assert report.missing == report.skipped == [] and report.kind.startswith("PASS")
    with torch.no_grad():
        tokens = backbone.forward_features(part_pass.images(3, (height, 128)))[:, :4]
    assert spread(tokens, part_pass.arrays[f"pretrain/{form}_{height}"]) < TOLERANCE


def test_part_tokens_are_kept_or_dropped_by_word_alone(
    part_pass: PersonBackbone, personvit: PersonBackbone, tmp_path: Path
) -> None:
    path = saved(part_pass.state("pretrain_bare"), tmp_path)
    plain = TransReIDBackbone(pass_vit(part_pass, 0), (256, 128)).eval()
    with pytest.raises(UserError, match=r"3 part tokens, this model 0.*PART_TOKENS 3.*DROP_PART"):
        load_weights(plain, path)
    two = TransReIDBackbone(pass_vit(part_pass, 2), (256, 128))
    two.drop_part_tokens = plain.drop_part_tokens = True
    with pytest.raises(UserError, match="3 part tokens, this model 2"):
        load_weights(two, path)
    report = load_weights(plain, path)
    assert "3 part tokens dropped" in report.table() and report.missing == report.skipped == []
    state = part_pass.state("pretrain_bare")
    rows = torch.cat([state["cls_pos"], state["pos_embed"]], 1)
    assert torch.equal(plain.pos_embed, rows)
    with pytest.raises(UserError, match="no part tokens, this model 2"):
        load_weights(two, saved(personvit.state("finetuned"), tmp_path))
