"""Weights of every known format, into models of every kind; what does not fit is said."""

from __future__ import annotations

import argparse
import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from fastreid.config import CfgNode
from fastreid.modeling import build_model
from fastreid.utils.checkpoint import Checkpointer
from golden_models import GOLDEN, MODELS, GoldenModel, build
from reid_common.errors import UserError
from reid_core.config import load_config
from reid_core.side_information.resolve import stored_sizes
from timm.models.vision_transformer import VisionTransformer
from torch import nn
from transreid import TransReIDBackbone, load_weights
from transreid.modeling.patch_embed import patch_grid, resize_pos_embed
from transreid.weights.formats import read_weights, stored_side_information
from transreid.weights.released import NOT_RELEASED, from_released, to_released

CONFIGS = Path(__file__).parents[2] / "projects" / "TransReID" / "configs"
SIZE, DEPTH = (64, 32), 2
CLOSE = {"atol": 1e-5, "rtol": 1e-5}


def make_vit(name: str = "vit_tiny_patch16_224", **options: object) -> VisionTransformer:
    torch.manual_seed(7)
    return timm.create_model(name, **{"num_classes": 5, "depth": DEPTH, **options})


def backbone(name: str = "vit_tiny_patch16_224", **options: object) -> TransReIDBackbone:
    torch.manual_seed(0)
    vit = timm.create_model(name, num_classes=0, depth=DEPTH)
    patch = vit.patch_embed.patch_size
    return TransReIDBackbone(vit, [4 * patch[0], 2 * patch[1]], patch, **options).eval()


def save(state: object, folder: Path, name: str = "weights.pth") -> str:
    torch.save(state, folder / name)
    return str(folder / name)


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("name", MODELS)
def test_released_models(tmp_path: Path, name: str, prefix: str) -> None:
    """The four golden files, in released key names, through load_weights."""
    golden = GoldenModel(name)
    state = {prefix + key: value for key, value in golden.released_state().items()}
    model = build(golden.meta)
    report = load_weights(model, save(state, tmp_path))
    assert report.kind.startswith("released TransReID") and report.share == 1
    assert report.missing == []
    with torch.no_grad():
        features = model.eval()(golden.batch)
    torch.testing.assert_close(features, golden.arrays["eval_before"], **CLOSE)


@pytest.mark.parametrize("name", MODELS)
def test_ours_to_released_and_back(tmp_path: Path, name: str) -> None:
    golden = GoldenModel(name)
    theirs = to_released(golden.model.state_dict())
    released = golden.released_state()
    assert set(theirs) == {key for key in released if not key.startswith("base.fc.")}
    for key, value in theirs.items():
        # The unused last block and norm of a JPM model are copies of the global branch here.
        if not (golden.meta["jpm"] and key.startswith(("base.blocks.2.", "base.norm."))):
            assert torch.equal(value, released[key]), key
    model = build(golden.meta)
    load_weights(model, save(theirs, tmp_path))
    with torch.no_grad():
        features = [m.eval()(golden.batch) for m in (golden.model, model)]
    assert torch.equal(*features)


def ics_golden() -> tuple[dict, dict[str, torch.Tensor]]:
    with np.load(GOLDEN / "ics_stem.npz") as file:
        meta = json.loads(str(file["meta"]))
        arrays = {k: torch.from_numpy(np.array(file[k])) for k in file.files if k != "meta"}
    return meta, {k: v.float() if v.is_floating_point() else v for k, v in arrays.items()}


@pytest.mark.parametrize("prefix", ["", "base."])
def test_the_ics_stem_of_transreid_ssl(tmp_path: Path, prefix: str) -> None:
    """[cls] of the released implementation in eval and in train mode (golden ics_stem)."""
    meta, arrays = ics_golden()
    vit = VisionTransformer(
        img_size=meta["img"],
        patch_size=meta["patch"],
        num_classes=0,
        embed_dim=meta["dim"],
        depth=meta["depth"],
        num_heads=meta["heads"],
        norm_layer=partial(nn.LayerNorm, eps=meta["ln_eps"]),
    )
    state = {k.removeprefix("state/"): v for k, v in arrays.items() if k.startswith("state/")}
    path = save({prefix + k: v for k, v in state.items()}, tmp_path)
    ours = TransReIDBackbone(vit, meta["img"], (16, 16), stem="ics")
    assert load_weights(ours, path).missing == []
    with torch.no_grad():
        feature = ours.eval()(arrays["images"])[..., 0, 0]
        torch.testing.assert_close(feature, arrays["eval_feat"], **CLOSE)
        feature = ours.train()(arrays["images"])[..., 0, 0]
        torch.testing.assert_close(feature, arrays["train_feat"], **CLOSE)
    with pytest.raises(UserError, match="STEM ics"):
        load_weights(TransReIDBackbone(vit, meta["img"], (16, 16)), path)


def test_timm_weights_give_timms_features(tmp_path: Path) -> None:
    """At timm's own size nothing is resized, and the backbone is timm's ViT."""
    vit = make_vit(img_size=SIZE).eval()
    ours = backbone()
    report = load_weights(ours, save(vit.state_dict(), tmp_path))
    assert report.resized == report.missing == []
    images = torch.rand(2, 3, *SIZE)
    with torch.no_grad():
        expected = vit.forward_features(images)
        torch.testing.assert_close(ours.forward_features(images), expected)
        torch.testing.assert_close(ours(images)[..., 0, 0], expected[:, 0])


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "deit_tiny_distilled_patch16_224"])
def test_imagenet_grids_are_resized(tmp_path: Path, name: str) -> None:
    vit = make_vit(name)
    if "distilled" in name:
        vit.pos_embed.data[:, 1] = 1000.0  # the distillation token's row, which must go
    ours = backbone()
    report = load_weights(ours, save({"model": vit.state_dict()}, tmp_path))
    assert report.resized == ["backbone.pos_embed"]
    prefix = vit.pos_embed.shape[1] - 196
    imagenet = torch.cat([vit.pos_embed[:, :1], vit.pos_embed[:, prefix:]], dim=1)
    torch.testing.assert_close(ours.pos_embed, resize_pos_embed(imagenet, (14, 14), (4, 2)))
    assert torch.equal(ours.blocks[1].mlp.fc1.weight, vit.blocks[1].mlp.fc1.weight)


def dino_checkpoint(vit: nn.Module, prefix: str) -> dict[str, object]:
    state = vit.state_dict()
    return {
        "student": {prefix + k: torch.zeros_like(v) for k, v in state.items()},
        "teacher": {
            **{prefix + k: v for k, v in state.items()},
            prefix.replace("backbone.", "head.") + "mlp.0.weight": torch.zeros(4, 4),
        },
        "optimizer": {"state": {}, "param_groups": []},
        "epoch": 100,
        "args": argparse.Namespace(lr=5e-4, arch="vit_small"),
        "dino_loss": {"center": torch.zeros(1, 8)},
    }


@pytest.mark.parametrize("prefix", ["module.backbone.", "backbone.", ""])
def test_luperson_weights_of_dino(tmp_path: Path, prefix: str) -> None:
    """A 16x8 grid, as a full checkpoint with its argparse.Namespace or as the bare backbone."""
    vit = make_vit(img_size=(256, 128))
    content = dino_checkpoint(vit, prefix) if prefix else vit.state_dict()
    ours = backbone()
    load_weights(ours, save(content, tmp_path))
    torch.testing.assert_close(ours.pos_embed, resize_pos_embed(vit.pos_embed, (16, 8), (4, 2)))
    assert torch.equal(ours.norm.weight, vit.norm.weight)
    assert torch.equal(ours.blocks[0].attn.qkv.weight, vit.blocks[0].attn.qkv.weight)


def test_an_unknown_grid_has_to_be_given(tmp_path: Path) -> None:
    path = save(make_vit(img_size=(160, 96)).state_dict(), tmp_path)  # 10x6
    with pytest.raises(UserError, match=r"60 patches.*PRETRAIN_GRID"):
        load_weights(backbone(), path)
    assert load_weights(backbone(), path, grid=(10, 6)).resized == ["backbone.pos_embed"]


def test_dinov2_with_registers(tmp_path: Path) -> None:
    """The names of DINOv2's own files, and [cls] with its position embedding added."""
    name = "vit_small_patch14_reg4_dinov2"
    vit = make_vit(name, num_classes=0)
    theirs = {k.replace("reg_token", "register_tokens"): v for k, v in vit.state_dict().items()}
    of_cls = torch.full((1, 1, 384), 0.25)
    theirs["pos_embed"] = torch.cat([of_cls, theirs["pos_embed"]], dim=1)
    theirs["mask_token"] = torch.zeros(1, 384)
    ours = backbone(name)
    report = load_weights(ours, save(theirs, tmp_path))
    assert report.missing == report.skipped == []
    torch.testing.assert_close(ours.cls_token, vit.cls_token + of_cls)
    assert torch.equal(ours.reg_token, vit.reg_token)
    torch.testing.assert_close(ours.pos_embed, resize_pos_embed(vit.pos_embed, (37, 37), (4, 2), 0))


def toy_cfg(name: str, **options: object) -> CfgNode:
    cfg = load_config(CONFIGS / "ToyReID" / f"{name}.yml")
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.HEADS.NUM_CLASSES = 3
    cfg.merge_from_list([part for pair in options.items() for part in pair])
    return cfg


@pytest.mark.parametrize("name", ["vit_tiny_base", "vit_tiny_transreid"])
def test_our_own_checkpoint_as_pretrained_weights(tmp_path: Path, name: str) -> None:
    """Of a JPM model the last block and norm are in the global branch."""
    state = build_model(toy_cfg(name)).state_dict()
    base = toy_cfg("vit_tiny_base")
    base.MODEL.BACKBONE.PRETRAIN = True
    base.MODEL.BACKBONE.PRETRAIN_PATH = save({"model": state, "epoch": 3}, tmp_path)
    again = build_model(base).backbone.state_dict()
    for key, value in again.items():
        source = f"backbone.{key}"
        if source not in state:
            inside = key.removeprefix("blocks.5.")
            block = "" if key.startswith("norm.") else "block."
            source = f"heads.global_branch.{block}{inside}"
        assert torch.equal(value, state[source]), key


def test_a_backbone_into_a_jpm_model_starts_both_branches(tmp_path: Path) -> None:
    model = build_model(toy_cfg("vit_tiny_jpm"))
    vit = make_vit(depth=6)
    report = load_weights(model, save(vit.state_dict(), tmp_path))
    assert report.share == 1
    for branch in (model.heads.global_branch, model.heads.local_branch):
        assert torch.equal(branch.block.mlp.fc1.weight, vit.blocks[5].mlp.fc1.weight)
        assert torch.equal(branch.norm.weight, vit.norm.weight)
    assert all("necks" in key for key in report.missing)


def test_jpm_and_baseline_models_take_each_others_global_branch(tmp_path: Path) -> None:
    jpm, base = (build_model(toy_cfg(f"vit_tiny_{name}")).eval() for name in ("jpm", "base"))
    load_weights(base, save(jpm.state_dict(), tmp_path))
    images = {"images": torch.rand(2, 3, 128, 64) * 255}
    with torch.no_grad():
        torch.testing.assert_close(base(images), jpm(images)[:, :192])
    other = build_model(toy_cfg("vit_tiny_jpm")).eval()
    load_weights(other, save(base.state_dict(), tmp_path))
    with torch.no_grad():
        torch.testing.assert_close(other(images)[:, :192], base(images))


def test_another_class_count_drops_the_classifiers(tmp_path: Path) -> None:
    path = save(build_model(toy_cfg("vit_tiny_jpm")).state_dict(), tmp_path)
    model = build_model(toy_cfg("vit_tiny_jpm", **{"MODEL.HEADS.NUM_CLASSES": 7}))
    before = model.heads.necks[2].classifier.weight.clone()
    report = load_weights(model, path)
    assert "5 classifier(s) of 3 identities left out: this model has 7" in report.notices
    assert torch.equal(model.heads.necks[2].classifier.weight, before)
    assert read_weights(path).num_classes == 3


def sie_model(policy: str, cameras: str, **options: object) -> nn.Module:
    """A model with camera and view SIE for ``cameras``, a text of DATASETS.CAMERAS."""
    cfg = toy_cfg("vit_tiny_transreid", **{"MODEL.SIE.UNKNOWN": policy, **options})
    cfg.DATASETS.CAMERAS = tuple(cameras.split(","))
    cfg.MODEL.SIE.NUM_CAMERAS = sum(int(part.split(":")[1]) for part in cfg.DATASETS.CAMERAS)
    return build_model(cfg)


def table_of(model: nn.Module) -> torch.Tensor:
    """Cameras x views x D."""
    return model.backbone.sie.sie_embed.detach().unflatten(0, (-1, 3))[:, :, 0]


def test_cameras_of_our_checkpoints_are_matched_by_name(tmp_path: Path) -> None:
    source = sie_model("mean", "toyreid:8,market1501:6")
    path = save(source.state_dict(), tmp_path)
    model = sie_model("mean", "market1501:6,msmt17:2")
    report = load_weights(model, path)
    theirs, ours = table_of(source), table_of(model)
    assert torch.equal(ours[:6], theirs[8:])
    torch.testing.assert_close(ours[6:], theirs.mean(0).expand(2, -1, -1))
    assert report.resized == ["backbone.sie.sie_embed"] and "2 of them" in report.notices[-1]


@pytest.mark.parametrize("policy", ["mean", "zero", "error"])
def test_another_number_of_cameras_in_a_released_file(tmp_path: Path, policy: str) -> None:
    source = sie_model("mean", "msmt17:15")
    path = save(to_released(source.state_dict()), tmp_path)
    model = sie_model(policy, "market1501:6")
    if policy == "error":
        with pytest.raises(UserError, match=r"has 15 cameras, this model 6.*mean or zero"):
            load_weights(model, path)
        return
    load_weights(model, path)
    mean = table_of(source).mean(0)
    expected = mean if policy == "mean" else torch.zeros_like(mean)
    torch.testing.assert_close(table_of(model), expected.expand(6, -1, -1))
    equal = sie_model(policy, "elsewhere:15")  # as many: the same order is taken for granted
    load_weights(equal, path)
    assert torch.equal(table_of(equal), table_of(source))


def test_sie_in_the_file_alone_or_in_the_model_alone(tmp_path: Path) -> None:
    with_sie, without = sie_model("mean", "toyreid:8"), build_model(toy_cfg("vit_tiny_jpm"))
    report = load_weights(without, save(with_sie.state_dict(), tmp_path))
    assert "24 rows left out" in report.notices[0]
    # Random rows would give other features in every run: the file's model adds nothing.
    report = load_weights(with_sie, save(without.state_dict(), tmp_path))
    assert not table_of(with_sie).any() and report.missing == []
    assert "no SIE table: all rows are zero" in report.notices[0]


def test_a_pretrained_backbone_leaves_the_sie_table_to_training(tmp_path: Path) -> None:
    backbone = build_model(toy_cfg("vit_tiny_sie")).backbone
    before = backbone.sie.sie_embed.clone()
    report = load_weights(backbone, save(make_vit(depth=6).state_dict(), tmp_path))
    assert torch.equal(backbone.sie.sie_embed, before)
    assert "backbone.sie.sie_embed" in report.missing


def test_more_rows_than_the_file_has_cameras(tmp_path: Path) -> None:
    """Those that it has are kept, though both tables are called alike."""
    source = sie_model("mean", "toyreid:4")
    cfg = toy_cfg("vit_tiny_transreid")
    cfg.DATASETS.CAMERAS, cfg.MODEL.SIE.NUM_CAMERAS = ("toyreid:4",), 8
    model = build_model(cfg)
    load_weights(model, save(source.state_dict(), tmp_path))
    theirs = table_of(source)
    assert torch.equal(table_of(model)[:4], theirs)
    torch.testing.assert_close(table_of(model)[4:], theirs.mean(0).expand(4, -1, -1))


def test_checkpointer_and_load_weights_agree_on_other_cameras(tmp_path: Path) -> None:
    path = save({"model": sie_model("mean", "toyreid:8").state_dict()}, tmp_path)
    models = [sie_model("mean", "elsewhere:8") for _ in range(2)]
    load_weights(models[0], path)
    Checkpointer(models[1]).load(path)
    assert torch.equal(*(table_of(model) for model in models))


@pytest.mark.parametrize("part", ["patch_embed.proj.weight", "pos_embed", "cls_token"])
def test_small_but_needed_parts_must_be_there(tmp_path: Path, part: str) -> None:
    """They are far less than a tenth of the weights."""
    model = build_model(toy_cfg("vit_tiny_base"))
    state = model.state_dict()
    del state[f"backbone.{part}"]
    with pytest.raises(UserError, match=rf"missing: backbone\.{part}|no ViT"):
        load_weights(model, save(state, tmp_path))


def test_another_patch_size_is_named(tmp_path: Path) -> None:
    path = save(make_vit("vit_small_patch8_224").state_dict(), tmp_path)
    with pytest.raises(UserError, match=r"patches of \(8, 8\), this model of \(16, 16\)"):
        load_weights(backbone("vit_small_patch16_224"), path)


def test_the_grid_of_the_config_holds_for_model_weights_too(tmp_path: Path) -> None:
    options = {"INPUT.SIZE_TRAIN": [160, 96], "INPUT.SIZE_TEST": [160, 96]}  # 12x6 at stride 12
    path = save(build_model(toy_cfg("vit_tiny_base", **options)).state_dict(), tmp_path)
    with pytest.raises(UserError, match="PRETRAIN_GRID"):
        Checkpointer(build_model(toy_cfg("vit_tiny_base"))).load(path)
    grid = patch_grid((160, 96), (16, 16), (12, 12))
    model = build_model(toy_cfg("vit_tiny_base", **{"MODEL.BACKBONE.PRETRAIN_GRID": grid}))
    Checkpointer(model).load(path)
    own = build_model(toy_cfg("vit_tiny_base", **{"MODEL.BACKBONE.PRETRAIN_GRID": grid}))
    load_weights(own, save(model.state_dict(), tmp_path))  # its own size is still known
    assert torch.equal(own.backbone.pos_embed, model.backbone.pos_embed)


def test_what_matters_is_a_warning(tmp_path: Path, caplog) -> None:
    model = build_model(toy_cfg("vit_tiny_jpm", **{"MODEL.HEADS.NUM_CLASSES": 0}))
    path = save(build_model(toy_cfg("vit_tiny_jpm")).state_dict(), tmp_path)
    with caplog.at_level("WARNING", logger="transreid"):
        load_weights(model, path)  # but for classifiers, which an evaluation does not need
        assert caplog.records == []
        load_weights(model, save(make_vit(depth=6).state_dict(), tmp_path))
    assert "heads.necks.0.bottleneck" in caplog.text


@pytest.mark.parametrize("kind", ["released", "dino", "timm"])
def test_fastreids_checkpointer_takes_every_format(tmp_path: Path, kind: str) -> None:
    """MODEL.WEIGHTS and --eval-only go through it."""
    source, model = (build_model(toy_cfg("vit_tiny_jpm")) for _ in range(2))
    vit = make_vit(depth=6)
    content = {
        "released": {f"module.{k}": v for k, v in to_released(source.state_dict()).items()},
        "dino": dino_checkpoint(vit, "module.backbone."),
        "timm": vit.state_dict(),
    }[kind]
    Checkpointer(model).load(save(content, tmp_path))
    expected = source.backbone if kind == "released" else vit
    ours, theirs = model.backbone.blocks[3], expected.blocks[3]
    assert torch.equal(ours.attn.qkv.weight, theirs.attn.qkv.weight)
    branch = source.heads.local_branch.norm if kind == "released" else vit.norm
    assert torch.equal(model.heads.local_branch.norm.weight, branch.weight)


def test_a_checkpoint_without_one_block_is_refused(tmp_path: Path) -> None:
    """11 of 12 blocks are more than 90% of the weights, and no ViT."""
    vit = timm.create_model("vit_tiny_patch16_224", num_classes=0)
    state = {k: v for k, v in vit.state_dict().items() if not k.startswith("blocks.5.")}
    ours = TransReIDBackbone(timm.create_model("vit_tiny_patch16_224"), SIZE, (16, 16))
    with pytest.raises(UserError, match=r"missing: backbone\.blocks\.5"):
        load_weights(ours, save(state, tmp_path))


def test_files_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    ours = backbone()
    before = {key: value.clone() for key, value in ours.state_dict().items()}
    with pytest.raises(UserError, match="there is no checkpoint"):
        load_weights(ours, str(tmp_path / "nothing.pth"))
    with pytest.raises(UserError, match="384 dimensions, this model has 192"):
        load_weights(ours, save(make_vit("vit_small_patch16_224").state_dict(), tmp_path))
    with pytest.raises(UserError, match="it has 3 blocks, this model 2"):
        load_weights(ours, save(make_vit(depth=3).state_dict(), tmp_path))
    with pytest.raises(UserError, match="holds no ViT"):
        load_weights(ours, save(timm.create_model("resnet18").state_dict(), tmp_path))
    (tmp_path / "text.pth").write_text("no checkpoint")
    with pytest.raises(UserError, match="cannot be read"):
        load_weights(ours, str(tmp_path / "text.pth"))
    with pytest.raises(UserError, match="TransReIDBackbone, not Linear"):
        load_weights(nn.Linear(1, 1), save(make_vit().state_dict(), tmp_path))
    assert all(torch.equal(before[key], value) for key, value in ours.state_dict().items())


class Evil:
    def __reduce__(self) -> tuple:
        return (print, ("unpickled",))


def test_malformed_states_are_one_message(tmp_path: Path) -> None:
    state = {"cls_token": 3, **make_vit().state_dict()}
    load_weights(backbone(), save({"model": {**state, "epoch": 1}}, tmp_path))
    branches = {"base.cls_token": torch.zeros(1, 1, 192), "b1.2.weight": torch.zeros(1)}
    with pytest.raises(UserError, match=r"does not fit"):
        load_weights(backbone(), save(branches, tmp_path))
    (tmp_path / "page.pth").write_text("<html>")
    with pytest.raises(UserError, match=r"no file of torch\.save"):
        read_weights(str(tmp_path / "page.pth"))


def test_safetensors(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    vit, ours = make_vit(), backbone()
    save_file(vit.state_dict(), tmp_path / "model.safetensors")
    load_weights(ours, str(tmp_path / "model.safetensors"))
    assert torch.equal(ours.norm.weight, vit.norm.weight)


def test_arbitrary_objects_are_not_unpickled(tmp_path: Path, capsys) -> None:
    path = save({"model": make_vit().state_dict(), "x": Evil()}, tmp_path)
    with pytest.raises(UserError, match=r"holds \S*print objects"):
        read_weights(path)
    assert "unpickled" not in capsys.readouterr().out


def test_the_report_is_a_table(tmp_path: Path) -> None:
    report = load_weights(backbone(), save(make_vit().state_dict(), tmp_path))
    text = report.table()
    assert "100% of the ViT's weights" in text
    assert "position embeddings resized from 14x14 to 4x2" in text
    for row in ("loaded", "resized", "skipped", "missing"):
        assert f"| {row}" in text


# Released models at their true sizes: width, depth, patches at the stride, rows of the SIE table.
TRUE_SIZES = [
    ("Market1501/vit_transreid_stride", 768, 12, 210, 6),
    ("DukeMTMC/vit_transreid_stride", 768, 12, 210, 8),
    ("MSMT17/vit_transreid_stride", 768, 12, 210, 15),
    ("VeRi/vit_transreid_stride", 768, 12, 441, 160),
    ("MSMT17/deit_small", 384, 12, 128, 0),
    ("MSMT17/vit_small", 768, 8, 128, 0),
    ("Market1501/ssl_vit_small_ics", 384, 12, 128, 0),
    ("MSMT17/ssl_vit_base_ics_384", 768, 12, 192, 0),
]


@pytest.mark.parametrize("name, dim, depth, patches, rows", TRUE_SIZES, ids=lambda v: str(v))
def test_true_sizes(
    tmp_path: Path, name: str, dim: int, depth: int, patches: int, rows: int
) -> None:
    """A file in released names, of the sizes that the facts give, fits the config completely."""
    cfg = load_config(CONFIGS / f"{name}.yml", ["MODEL.BACKBONE.PRETRAIN", False])
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.HEADS.NUM_CLASSES = 5
    model = build_model(cfg).eval()
    state = to_released(model.state_dict())
    state = constant(state)
    assert state["base.cls_token"].shape == (1, 1, dim)
    assert state["base.pos_embed"].shape == (1, 1 + patches, dim)
    assert f"base.blocks.{depth - 1}.norm1.weight" in state
    assert f"base.blocks.{depth}.norm1.weight" not in state
    assert len(state.get("base.sie_embed", ())) == rows
    report = load_weights(model, save(state, tmp_path))
    assert report.missing == report.skipped == []
    for key, value in model.state_dict().items():
        if key not in NOT_RELEASED:
            assert bool((value == torch.tensor(0.5).to(value.dtype)).all()), key


def constant(shapes: dict[str, torch.Tensor], prefix: str = "") -> dict[str, torch.Tensor]:
    """Every value 0.5, in storage of one element: true shapes in a small file."""
    half = {k: torch.full((), 0.5, dtype=v.dtype).expand(v.shape) for k, v in shapes.items()}
    return {prefix + key: value for key, value in half.items()}


def of_vit(model: nn.Module, grid: tuple[int, int], extra: int = 0) -> dict[str, torch.Tensor]:
    """State dict of the ViT before fine-tuning: no SIE, its own grid, ``extra`` prefix tokens."""
    backbone, heads = model.backbone, model.heads
    state = {k: v for k, v in backbone.state_dict().items() if not k.startswith("sie.")}
    if hasattr(heads, "global_branch"):
        branch, last = heads.global_branch.state_dict(), len(backbone.blocks)
        state |= {k.replace("block.", f"blocks.{last}.", 1): v for k, v in branch.items()}
    tokens = 1 + extra + grid[0] * grid[1]
    return {**state, "pos_embed": torch.zeros(1, tokens, backbone.embed_dim)}


PRETRAINED = [
    ("Market1501/vit_transreid_stride", "timm", (14, 14)),
    ("Market1501/deit_transreid_stride", "distilled", (14, 14)),
    ("MSMT17/vit_small", "timm", (14, 14)),
    ("Market1501/ssl_vit_small", "dino", (16, 8)),
    ("MSMT17/ssl_vit_small_ics", "dino", (16, 8)),
    ("Market1501/ssl_vit_base_ics_384", "bare", (16, 8)),
]


@pytest.mark.parametrize("name, kind, grid", PRETRAINED, ids=lambda v: str(v))
def test_true_sizes_of_pretrained_files(
    tmp_path: Path, name: str, kind: str, grid: tuple[int, int]
) -> None:
    """ImageNet, DeiT and LUPerson files of the true sizes, through PRETRAIN_PATH."""
    cfg = load_config(CONFIGS / f"{name}.yml", ["MODEL.BACKBONE.PRETRAIN", False])
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.HEADS.NUM_CLASSES = 5
    state = constant(of_vit(build_model(cfg), grid, extra=kind == "distilled"))
    content = {
        "timm": {**state, "head.weight": torch.zeros(1000, 1)},
        "distilled": {"model": {**state, "dist_token": torch.zeros(1)}},
        "dino": {"teacher": constant(state, "module.backbone."), "args": argparse.Namespace()},
        "bare": state,
    }[kind]
    cfg.MODEL.BACKBONE.PRETRAIN = True
    cfg.MODEL.BACKBONE.PRETRAIN_PATH = save(content, tmp_path)
    model = build_model(cfg)
    for key, value in model.state_dict().items():
        if key.startswith("backbone.") and ".sie." not in key:
            half = torch.tensor(0.5).to(value.dtype)  # 0 for counters
            torch.testing.assert_close(value, half.expand(value.shape), msg=key)


def test_released_names_are_a_bijection() -> None:
    golden = GoldenModel("transreid_jpm_sie_camera_view")
    ours = golden.model.state_dict()
    again = from_released(to_released(ours))
    assert set(again) == set(ours) - {*NOT_RELEASED}
    with pytest.raises(UserError, match="reg_token has no place"):
        to_released({"backbone.reg_token": torch.zeros(1, 4, 8)})


def parts_of(model: nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
    return model.backbone.sie.sie_camera.detach(), model.backbone.sie.sie_view.detach()


def test_an_additive_table_is_loaded_digit_for_digit(tmp_path: Path) -> None:
    additive = {"MODEL.SIE.TABLE": "additive"}
    source = sie_model("mean", "toyreid:8,market1501:6", **additive)
    model = sie_model("mean", "toyreid:8,market1501:6", **additive)
    load_weights(model, save(source.state_dict(), tmp_path))
    assert all(map(torch.equal, parts_of(source), parts_of(model)))
    chosen = sie_model("mean", "market1501:6", **additive)  # rows by name, the same sums
    load_weights(chosen, save(source.state_dict(), tmp_path))
    torch.testing.assert_close(
        chosen.backbone.sie.pairs(), source.backbone.sie.pairs()[8:].detach()
    )


def test_additive_and_joint_tables_into_each_other(tmp_path: Path) -> None:
    joint = sie_model("mean", "toyreid:8")
    additive = sie_model("mean", "toyreid:8", **{"MODEL.SIE.TABLE": "additive"})
    sums = additive.backbone.sie.pairs().detach().clone()
    load_weights(joint, save(additive.state_dict(), tmp_path))
    torch.testing.assert_close(joint.backbone.sie.pairs().detach(), sums)
    load_weights(joint, save(to_released(additive.state_dict()), tmp_path))
    torch.testing.assert_close(joint.backbone.sie.pairs().detach(), sums)
    load_weights(additive, save(joint.state_dict(), tmp_path))
    torch.testing.assert_close(additive.backbone.sie.pairs().detach(), sums)
    # Of a joint table that is no sum: S(c, v) = 1 for (0, 0) alone of 8 x 3; camera 0 has 1/3,
    # viewpoint 0 1/8 less 1/24, so that 1/3 + 1/12 comes nearest.
    joint.backbone.sie.sie_embed.data.zero_()[0] = 1
    load_weights(additive, save(joint.state_dict(), tmp_path))
    assert additive.backbone.sie.pairs()[0, 0, 0, 0].item() == pytest.approx(5 / 12)


def test_sizes_of_an_additive_table_are_read_from_the_file() -> None:
    model = sie_model("mean", "toyreid:8", **{"MODEL.SIE.TABLE": "additive"})
    stored = stored_side_information(model.state_dict())
    assert stored_sizes(stored, 0, 0) == (8, 3)
