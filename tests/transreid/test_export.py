"""Export to ONNX: the released models' features, cameras and viewpoints as inputs or fixed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import timm
import torch
import torch.nn.functional as F
from golden_models import MODELS, GoldenModel
from reid_common.errors import UserError
from torch import nn
from transreid import BNNeckHead, JPMHead, LocalityHead, TransReID, TransReIDBackbone
from transreid.export import onnx_export as export
from transreid.modeling.features import features_of
from transreid.modeling.side_embedding import SideInformationEmbedding

pytest.importorskip("onnx", reason="pip install onnx")
onnxruntime = pytest.importorskip("onnxruntime", reason="pip install onnxruntime")
SIZE = (64, 32)


def build(
    heads: type[nn.Module] = JPMHead,
    cameras: int = 3,
    views: int = 0,
    unknown: str = "mean",
    depth: int = 2,
    name: str = "vit_tiny_patch16_224",
    options: dict | None = None,
    table: str = "joint",
    test_neck_feat: str = "before",
    **backbone: object,
) -> TransReID:
    vit = timm.create_model(name, num_classes=0, depth=depth, **(options or {}))
    sie = None
    if cameras or views:
        sie = SideInformationEmbedding(cameras, views, vit.embed_dim, unknown=unknown, table=table)
        for rows in sie.parameters():
            nn.init.normal_(rows)  # so that a wrong row shows in the features
    model = TransReID(
        backbone=TransReIDBackbone(vit, SIZE, (12, 12), sie, **backbone),
        heads=heads(feat_dim=vit.embed_dim, num_classes=2, test_neck_feat=test_neck_feat),
        pixel_mean=[127.5, 120.0, 110.0],
        pixel_std=[127.5, 60.0, 50.0],
        loss_kwargs={},
    )
    return model.eval()


def run(path: Path, **inputs: torch.Tensor) -> torch.Tensor:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert [i.name for i in session.get_inputs()] == list(inputs)
    return torch.from_numpy(session.run(None, {k: v.numpy() for k, v in inputs.items()})[0])


def images(count: int) -> torch.Tensor:
    return torch.rand(count, 3, *SIZE) * 255


@torch.no_grad()
def expected(model: nn.Module, **batch: torch.Tensor) -> torch.Tensor:
    return F.normalize(model(batch))


@pytest.mark.parametrize("name", MODELS)
def test_features_of_the_released_models(name: str, tmp_path: Path) -> None:
    golden = GoldenModel(name)
    golden.model.eval()
    size = golden.model.backbone.patch_embed.image_size
    report = export.export_onnx(golden.model, tmp_path / "m.onnx", size)
    inputs = {key: golden.batch[key] for key in report.inputs}
    features = run(report.path, **inputs)
    wanted = F.normalize(golden.arrays["eval_before"])
    torch.testing.assert_close(features, wanted, atol=1e-5, rtol=1e-5)
    assert report.feature_dim == features.shape[1]
    assert 0 <= report.difference < 1e-5


@pytest.mark.parametrize(
    "options",
    [
        {"heads": BNNeckHead, "cameras": 0},
        {"heads": LocalityHead, "cameras": 0},
        {"name": "vit_small_8l_transreid", "depth": 8, "options": {"embed_dim": 64}},
        {"stem": "ics"},
        {"name": "deit3_small_patch16_224"},  # no position embedding for [cls], layer scale
    ],
    ids=["baseline", "lem", "8 layers", "ics", "deit3"],
)
def test_other_models(options: dict, tmp_path: Path) -> None:
    model = build(**options)
    report = export.export_onnx(model, tmp_path / "m.onnx", SIZE)
    ids = {name: torch.tensor([0, 1, 2, -1, 0, 2, 1]) for name in report.inputs[1:]}
    batch = {"images": images(7), **ids}
    torch.testing.assert_close(
        run(report.path, **batch), expected(model, **batch), atol=1e-5, rtol=1e-5
    )


def test_the_centered_feature(tmp_path: Path) -> None:
    model = build(cameras=0, test_neck_feat="centered")
    for neck in model.heads.necks:
        nn.init.normal_(neck.bottleneck.running_mean)
    batch = {"images": images(3)}
    features = run(export.export_onnx(model, tmp_path / "m.onnx", SIZE).path, **batch)
    torch.testing.assert_close(features, expected(model, **batch), atol=1e-5, rtol=1e-5)


def test_unknown_cameras_and_views_of_an_additive_table(tmp_path: Path) -> None:
    """With "zero" the part that is known stays: no two pairs of known and unknown are the same."""
    model = build(cameras=3, views=2, unknown="zero", table="additive")
    report = export.export_onnx(model, tmp_path / "m.onnx", SIZE)
    ids = torch.tensor([(camera, view) for camera in (-1, 0, 2) for view in (-1, 0, 1)])
    camids, viewids = ids.T.contiguous()
    picture = images(1).expand(len(ids), -1, -1, -1).contiguous()
    batch = {"images": picture, "camids": camids, "viewids": viewids}
    features = run(report.path, **batch)
    torch.testing.assert_close(features, expected(model, **batch), atol=1e-5, rtol=1e-5)
    assert torch.pdist(features).min() > 1e-3


@pytest.mark.parametrize("unknown", ["mean", "zero"])
def test_unknown_cameras_and_views_are_inputs_too(unknown: str, tmp_path: Path) -> None:
    model = build(cameras=3, views=2, unknown=unknown)
    report = export.export_onnx(model, tmp_path / "m.onnx", SIZE)
    ids = [(camera, view) for camera in (-7, -1, 0, 2) for view in (-1, 0, 1)]
    camids, viewids = torch.tensor(ids).T.contiguous()
    picture = images(1).expand(len(ids), -1, -1, -1).contiguous()
    batch = {"images": picture, "camids": camids, "viewids": viewids}
    features = run(report.path, **batch)
    torch.testing.assert_close(features, expected(model, **batch), atol=1e-5, rtol=1e-5)
    # -7 and -1 are the same. With "zero" all pairs with an unknown id are; else no two pairs are.
    assert torch.allclose(features[:3], features[3:6], atol=1e-6)
    known = (camids >= 0) & (viewids >= 0)
    different = features[3:] if unknown == "mean" else features[known]
    assert torch.pdist(different).min() > 1e-3


def test_ids_without_a_row_are_refused_by_the_runtime(tmp_path: Path) -> None:
    model = build(cameras=3, views=2)
    path = export.export_onnx(model, tmp_path / "m.onnx", SIZE).path
    strict = build(cameras=3, unknown="error")
    strict_path = export.export_onnx(strict, tmp_path / "s.onnx", SIZE).path
    one = {"images": images(1)}
    zero = torch.tensor([0])
    for camera, view in ((3, 0), (4, 0), (0, 2), (0, 3)):
        with pytest.raises(Exception, match=r"(?i)ind(ex|ices)"):
            run(path, **one, camids=torch.tensor([camera]), viewids=torch.tensor([view]))
    for camera in (-1, 3):
        with pytest.raises(Exception, match=r"(?i)ind(ex|ices)"):
            run(strict_path, **one, camids=torch.tensor([camera]))
    assert run(strict_path, **one, camids=zero).shape == (1, 5 * 192)


@pytest.mark.parametrize("camera, view", [(2, "input"), ("input", 1), ("off", 1), (1, "off")])
def test_fixed_cameras_and_views(camera: int | str, view: int | str, tmp_path: Path) -> None:
    model = build(cameras=3, views=2)
    path = export.export_onnx(model, tmp_path / "m.onnx", SIZE, camera=camera, view=view).path
    batch = {"images": images(2)}
    ids = torch.tensor([1, 0])
    given = {"camids": (camera, ids), "viewids": (view, ids)}
    inputs = {name: value for name, (choice, value) in given.items() if choice == "input"}
    fixed = {
        name: torch.full((2,), -1 if choice == "off" else choice)
        for name, (choice, _) in given.items()
        if choice != "input"
    }
    torch.testing.assert_close(
        run(path, **batch, **inputs),
        expected(model, **batch, **inputs, **fixed),
        atol=1e-5,
        rtol=1e-5,
    )


def test_flip_and_global_only(tmp_path: Path) -> None:
    model = build(cameras=0)
    model.heads.global_only = True
    report = export.export_onnx(model, tmp_path / "m.onnx", SIZE, flip=True)
    batch = {"images": images(3)}
    with torch.no_grad():
        both = model(batch) + model({"images": batch["images"].flip(3)})
    assert report.feature_dim == 192
    torch.testing.assert_close(run(report.path, **batch), F.normalize(both), atol=1e-5, rtol=1e-5)


def test_the_model_stays_as_it_is(tmp_path: Path) -> None:
    model = build(unknown="zero").train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    export.export_onnx(model, tmp_path / "m.onnx", SIZE)
    assert model.training and isinstance(model.backbone.sie, SideInformationEmbedding)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_metadata_and_names(tmp_path: Path) -> None:
    model = build()
    path = tmp_path / "new" / "m.onnx"
    report = export.export_onnx(model, path, SIZE, metadata={"cameras": "market1501:3"})
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found = session.get_modelmeta().custom_metadata_map
    assert found == {"feature_dim": "960", "cameras": "market1501:3"}
    shapes = {i.name: i.shape for i in [*session.get_inputs(), *session.get_outputs()]}
    assert shapes == {
        "images": ["batch", 3, *SIZE],
        "camids": ["batch"],
        "features": ["batch", 960],
    }
    assert report.path == path
    assert [p.name for p in path.parent.iterdir()] == ["m.onnx"]


def test_a_wrong_export_is_kept_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.onnx"
    path.write_text("the file of yesterday")

    def wrong(model: nn.Module, batch: dict, flip: bool = False) -> torch.Tensor:
        return features_of(model, batch, flip) + 1e-3

    monkeypatch.setattr(export, "features_of", wrong)
    with pytest.raises(UserError, match=r"differ from PyTorch's by 1\.0e-03.*m\.unchecked\.onnx"):
        export.export_onnx(build(), path, SIZE)
    assert path.read_text() == "the file of yesterday"
    assert (tmp_path / "m.unchecked.onnx").stat().st_size > 10_000


@pytest.mark.parametrize(
    "model, arguments, message",
    [
        ({"cameras": 0}, {"camera": 0}, "embeds no camera"),
        ({"cameras": 0}, {"view": "input"}, "embeds no view"),
        ({}, {"camera": 3}, r"camera 3: the model knows 0\.\.2"),
        ({"unknown": "error"}, {"camera": "off"}, r"MODEL\.SIE\.UNKNOWN is error"),
        ({}, {"opset": 21}, r"opset 21: choose one of 14\.\.20"),
    ],
)
def test_bad_requests(model: dict, arguments: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        export.export_onnx(build(**model), tmp_path / "m.onnx", SIZE, **arguments)
    assert list(tmp_path.iterdir()) == []


def test_missing_packages_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match=r"needs the package onnxruntime.*pip install onnx onnxr"):
        export.export_onnx(build(), tmp_path / "m.onnx", SIZE)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        export.export_onnx(build(), tmp_path / "file" / "m.onnx", SIZE)
