"""Every config loads and builds; weights come in from every format; errors name the mistake."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import pytest
import timm
import torch
from fastreid.config import get_cfg
from fastreid.modeling import build_model
from fastreid_compat.errors import UserError
from golden_models import GoldenModel
from transreid import TransReIDBackbone, add_transreid_config
from transreid.patch_embed import resize_pos_embed
from transreid.pretrained import load_pretrained, read_backbone_state

CONFIGS = Path(__file__).parents[2] / "projects" / "TransReID" / "configs"
LEAVES = sorted(p for p in CONFIGS.glob("*/*.yml") if not p.name.startswith("Base"))


def load(path: Path):
    cfg = get_cfg()
    add_transreid_config(cfg)
    cfg.merge_from_file(str(path))
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.BACKBONE.PRETRAIN = False
    cfg.MODEL.HEADS.NUM_CLASSES = 3
    return cfg


@pytest.mark.parametrize("path", LEAVES, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_every_config_builds(path: Path) -> None:
    cfg = load(path)
    model = build_model(cfg).eval()
    size = cfg.INPUT.SIZE_TEST
    zeros = torch.zeros(1, dtype=torch.long)
    batch = {"images": torch.zeros(1, 3, *size), "camids": zeros, "viewids": zeros}
    with torch.no_grad():
        features = model(batch)
    branches = 1 + (cfg.MODEL.JPM.NUM_PARTS if cfg.MODEL.HEADS.NAME == "JPMHead" else 0)
    assert features.shape == (1, branches * cfg.MODEL.BACKBONE.FEAT_DIM)


def test_the_configs_are_there() -> None:
    names = {f"{p.parent.name}/{p.stem}" for p in LEAVES}
    assert names >= {
        "ToyReID/vit_tiny_base",
        "ToyReID/vit_tiny_jpm",
        "ToyReID/vit_tiny_sie",
        "ToyReID/vit_tiny_transreid",
        "Market1501/vit_base",
        "Market1501/vit_transreid_stride",
    }


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("MODEL.BACKBONE.TIMM_NAME", "vit_tiny_patch16_225", "similar: .*vit_tiny_patch16_224"),
        ("MODEL.BACKBONE.TIMM_NAME", "resnet18", "no plain ViT|needs a plain ViT"),
        ("MODEL.BACKBONE.TIMM_NAME", "vit_base_patch16_siglip_224", r"\[cls\] token"),
        ("MODEL.BACKBONE.TIMM_NAME", "vit_tiny_r_s16_p8_224", "needs a plain ViT"),  # hybrid
        ("MODEL.BACKBONE.NUM_BLOCKS", -1, "NUM_BLOCKS is -1"),
        ("MODEL.BACKBONE.STRIDE_SIZE", [0, 0], "STRIDE_SIZE must be positive"),
        ("MODEL.JPM.SHIFT_NUM", 0, "SHIFT_NUM must be at least 1"),
        ("MODEL.HEADS.EMBEDDING_DIM", 64, "EMBEDDING_DIM is 64"),
        ("MODEL.BACKBONE.NAME", "build_resnet_backbone", "META_ARCHITECTURE TransReID needs"),
        ("MODEL.BACKBONE.FEAT_DIM", 768, "set FEAT_DIM: 192"),
        ("INPUT.SIZE_TEST", [256, 128], "make them equal"),
        ("MODEL.SIE.NUM_CAMERAS", 0, "resolve_side_information"),
    ],
)
def test_wrong_settings_are_named(key: str, value: object, message: str) -> None:
    cfg = load(CONFIGS / "ToyReID" / "vit_tiny_transreid.yml")
    cfg.merge_from_list([key, value])
    with pytest.raises(UserError, match=message):
        build_model(cfg)


SIZE, DEPTH = (64, 32), 2


def make_vit(name: str = "vit_tiny_patch16_224", **options: object) -> torch.nn.Module:
    torch.manual_seed(7)
    return timm.create_model(name, num_classes=5, depth=DEPTH, **options)


def backbone(name: str = "vit_tiny_patch16_224") -> TransReIDBackbone:
    torch.manual_seed(0)
    vit = timm.create_model(name, num_classes=0, depth=DEPTH)
    return TransReIDBackbone(vit, SIZE, (16, 16)).eval()


def test_timm_weights_give_timms_features(tmp_path: Path) -> None:
    """At timm's own size nothing is resized, and the backbone is timm's ViT."""
    vit = make_vit(img_size=SIZE).eval()
    torch.save(vit.state_dict(), tmp_path / "vit.pth")
    ours = backbone()
    load_pretrained(ours, str(tmp_path / "vit.pth"))
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
    torch.save({"model": vit.state_dict()}, tmp_path / "vit.pth")
    ours = backbone()
    load_pretrained(ours, str(tmp_path / "vit.pth"))
    prefix = vit.pos_embed.shape[1] - 196
    imagenet = torch.cat([vit.pos_embed[:, :1], vit.pos_embed[:, prefix:]], dim=1)
    torch.testing.assert_close(ours.pos_embed, resize_pos_embed(imagenet, (14, 14), (4, 2)))
    assert torch.equal(ours.blocks[1].mlp.fc1.weight, vit.blocks[1].mlp.fc1.weight)


@pytest.mark.parametrize("prefix", ["module.backbone.", "backbone."])
def test_a_dino_checkpoint_gives_its_teacher_and_its_grid(tmp_path: Path, prefix: str) -> None:
    """LUPerson's weights: 16x8, with an argparse.Namespace beside them."""
    vit = make_vit(img_size=(256, 128))
    teacher = {prefix + k: v for k, v in vit.state_dict().items()}
    student = {prefix + k: torch.zeros_like(v) for k, v in vit.state_dict().items()}
    checkpoint = {"student": student, "teacher": teacher, "args": argparse.Namespace(lr=1.0)}
    torch.save(checkpoint, tmp_path / "dino.pth")
    ours = backbone()
    with pytest.raises(UserError, match="PRETRAIN_GRID"):
        load_pretrained(ours, str(tmp_path / "dino.pth"))
    load_pretrained(ours, str(tmp_path / "dino.pth"), grid=(16, 8))
    torch.testing.assert_close(ours.pos_embed, resize_pos_embed(vit.pos_embed, (16, 8), (4, 2)))
    assert torch.equal(ours.norm.weight, vit.norm.weight)
    assert torch.equal(ours.blocks[0].attn.qkv.weight, vit.blocks[0].attn.qkv.weight)


@pytest.mark.parametrize("name", ["vit_tiny_base", "vit_tiny_transreid"])
def test_our_own_checkpoint_is_read_as_pretrained_weights(tmp_path: Path, name: str) -> None:
    """Of a JPM model the last block and norm are in the global branch."""
    cfg = load(CONFIGS / "ToyReID" / f"{name}.yml")
    model = build_model(cfg)
    state = model.state_dict()
    torch.save({"model": state, "epoch": 3}, tmp_path / "ours.pth")
    base = load(CONFIGS / "ToyReID" / "vit_tiny_base.yml")
    base.MODEL.BACKBONE.PRETRAIN = True
    base.MODEL.BACKBONE.PRETRAIN_PATH = str(tmp_path / "ours.pth")
    again = build_model(base).backbone.state_dict()
    for key, value in again.items():
        source = f"backbone.{key}"
        if source not in state:
            inside = key.removeprefix("blocks.5.")
            block = "" if key.startswith("norm.") else "block."
            source = f"heads.global_branch.{block}{inside}"
        assert torch.equal(value, state[source]), key


def test_released_weights_are_read_as_pretrained_weights() -> None:
    """JPM: the last block is b1.0, not the dead base.blocks.2."""
    golden = GoldenModel("transreid_jpm_sie_camera")
    released = golden.released_state()
    with tempfile.TemporaryDirectory() as folder:
        torch.save({f"module.{k}": v for k, v in released.items()}, f"{folder}/released.pth")
        state = read_backbone_state(f"{folder}/released.pth")
    assert torch.equal(state["blocks.2.attn.qkv.weight"], released["b1.0.attn.qkv.weight"])
    assert torch.equal(state["norm.weight"], released["b1.1.weight"])
    assert torch.equal(state["blocks.1.norm1.weight"], released["base.blocks.1.norm1.weight"])


def test_a_checkpoint_without_one_block_is_refused(tmp_path: Path) -> None:
    """11 of 12 blocks are more than 90% of the weights, and no ViT."""
    vit = timm.create_model("vit_tiny_patch16_224", num_classes=0)
    state = {k: v for k, v in vit.state_dict().items() if not k.startswith("blocks.11.")}
    torch.save(state, tmp_path / "hole.pth")
    ours = TransReIDBackbone(timm.create_model("vit_tiny_patch16_224"), SIZE, (16, 16))
    with pytest.raises(UserError, match=r"12 missing \(blocks.11"):
        load_pretrained(ours, str(tmp_path / "hole.pth"))


def test_files_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    ours = backbone()
    with pytest.raises(UserError, match="does not exist"):
        load_pretrained(ours, str(tmp_path / "nothing.pth"))
    torch.save(make_vit("vit_small_patch16_224").state_dict(), tmp_path / "small.pth")
    with pytest.raises(UserError, match=r"does not fit this backbone: 0 tensors loaded"):
        load_pretrained(ours, str(tmp_path / "small.pth"))
    torch.save(timm.create_model("resnet18").state_dict(), tmp_path / "resnet.pth")
    with pytest.raises(UserError, match="holds no ViT"):
        read_backbone_state(str(tmp_path / "resnet.pth"))
    (tmp_path / "text.pth").write_text("no checkpoint")
    with pytest.raises(UserError, match="can be read safely"):
        read_backbone_state(str(tmp_path / "text.pth"))


class Evil:
    def __reduce__(self) -> tuple:
        return (print, ("unpickled",))


def test_arbitrary_objects_are_not_unpickled(tmp_path: Path, capsys) -> None:
    torch.save({"model": make_vit().state_dict(), "x": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(UserError, match="read safely"):
        read_backbone_state(str(tmp_path / "evil.pth"))
    assert "unpickled" not in capsys.readouterr().out
