"""SOLIDER's Swin gives the features of the released code; what it cannot do is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from fastreid.modeling import build_backbone, build_model
from fastreid.utils.checkpoint import Checkpointer
from person_backbones import PersonBackbone, pixels_of, spread
from reid_common.errors import UserError
from reid_core.config import load_config
from reid_core.run.validation import validate_config
from torch import Tensor
from transreid import BNNeckHead, TransReID
from transreid.modeling.swin import SwinBackbone
from transreid.weights.solider import from_solider, load_swin

CONFIGS = Path(__file__).parents[2] / "projects" / "TransReID" / "configs"
TOLERANCE = 1e-4
SIZES = ((256, 128), (384, 128), (224, 224))


@pytest.fixture(scope="module")
def solider() -> PersonBackbone:
    return PersonBackbone("solider_swin")


def swin(golden: PersonBackbone, weight: float) -> SwinBackbone:
    meta = golden.meta
    return SwinBackbone(meta["embed_dims"], meta["depths"], meta["heads"], weight).eval()


def model_of(golden: PersonBackbone, weight: float, pixels: float = 127.5) -> TransReID:
    head, scale = BNNeckHead(feat_dim=192, num_classes=7), [pixels] * 3
    parts = {"backbone": swin(golden, weight), "pixel_mean": scale, "pixel_std": scale}
    return TransReID(**parts, heads=head, loss_kwargs={}).eval()


def saved(state: object, folder: Path) -> str:
    torch.save(state, folder / "weights.pth")
    return str(folder / "weights.pth")


@pytest.mark.parametrize("weight", [0.2, 1.0, -1.0])
@torch.no_grad()
def test_a_fine_tuned_solider(weight: float, solider: PersonBackbone, tmp_path: Path) -> None:
    """Maps that are padded, at 256x128 and 384x128, and one that is not, through MODEL.WEIGHTS."""
    model = model_of(solider, weight)
    name = "finetuned" if weight >= 0 else "finetuned_no_semantics"
    Checkpointer(model).load(saved(solider.state(name), tmp_path))
    for size in SIZES:
        batch = {"images": pixels_of(solider.images(2, size))}
        key = f"{size[0]}x{size[1]}/sem{weight}"
        model.heads.test_neck_feat = "before"
        assert spread(model(dict(batch)), solider.arrays[f"{key}/before"]) < TOLERANCE
        if f"{key}/after" in solider.arrays:
            model.heads.test_neck_feat = "after"
            batch = {"images": pixels_of(solider.images(2, size))}
            assert spread(model(batch), solider.arrays[f"{key}/after"]) < TOLERANCE


def teacher(golden: PersonBackbone) -> dict[str, Tensor]:
    return golden.state("pretrain_teacher")


def test_first_weights_and_wrong_files(solider: PersonBackbone, tmp_path: Path) -> None:
    """The teacher is taken; other depths, controllers, pixels and unknown files are refused."""
    path = saved({"student": {}, "teacher": teacher(solider), "epoch": 100}, tmp_path)
    backbone = swin(solider, 0.2)
    assert load_swin(backbone, path).missing == []
    with torch.no_grad():
        got = backbone(solider.images(2, (256, 128)))[:, :, 0, 0]
    assert spread(got, solider.arrays["pretrain/256x128"]) < TOLERANCE
    with pytest.raises(UserError, match="semantic_embed"):
        load_swin(swin(solider, -1.0), path)
    meta = solider.meta
    deeper = SwinBackbone(meta["embed_dims"], (2, 2, 4, 2), meta["heads"], 0.2)
    with pytest.raises(UserError, match=r"lacks .*stages\.2\.blocks\.2"):
        load_swin(deeper, path)
    with pytest.raises(UserError, match="pre-trained backbone, no ReID model"):
        Checkpointer(model_of(solider, 0.2)).load(path)
    with pytest.raises(UserError, match="PIXEL_MEAN"):
        Checkpointer(model_of(solider, 0.2, 100.0)).load(
            saved(solider.state("finetuned"), tmp_path)
        )
    state = solider.state("finetuned")
    index = "base.stages.0.blocks.0.attn.w_msa.relative_position_index"
    state[index] = state[index].flip(0)
    with pytest.raises(UserError, match="another way"):
        from_solider(state)


NAMES = {  # ours -> mmdetection's
    "patch_embed.proj.": "patch_embed.projection.",
    ".attn.": ".attn.w_msa.",
    ".mlp.fc1.": ".ffn.layers.0.0.",
    ".mlp.fc2.": ".ffn.layers.1.",
}


@pytest.mark.parametrize(("size", "blocks", "dim"), [("tiny", 12, 768), ("base", 24, 1024)])
def test_true_sizes(size: str, blocks: int, dim: int) -> None:
    """Swin-T and Swin-B by mmdetection's names: every tensor has its place, in its shape."""
    options = ["MODEL.DEVICE", "meta", "MODEL.BACKBONE.PRETRAIN", False]
    cfg = load_config(CONFIGS / f"MSMT17/solider_swin_{size}.yml", options)
    with torch.device("meta"):
        own = build_backbone(cfg).state_dict()
    assert own["norm.weight"].shape == (dim,)
    assert sum(key.endswith("attn.qkv.weight") for key in own) == blocks
    theirs = {}
    for key, value in own.items():
        for ours, other in NAMES.items():
            key = key.replace(ours, other)
        theirs["backbone." + ("norm3." + key[5:] if key.startswith("norm.") else key)] = value
    theirs |= {f"backbone.norm{i}.weight": torch.zeros(1) for i in range(3)}
    theirs["backbone.semantic_embed_w.3.weight"] = torch.zeros(dim, 2)
    found = from_solider(theirs)
    assert {k.removeprefix("backbone."): v.shape for k, v in found.items()} == {
        key: value.shape for key, value in own.items()
    }


REFUSED = {
    "MODEL.HEADS.NAME JPMHead": "needs the tokens of a ViT",
    "MODEL.SIE.CAMERA True": "no tokens that see the whole image",
    "MODEL.BACKBONE.FEAT_DIM 384": "set FEAT_DIM: 768",
    "MODEL.BACKBONE.PRETRAIN_PATH ''": "nobody's weights fit this Swin by name",
}


@pytest.mark.parametrize("option", REFUSED)
def test_what_a_swin_cannot_do_is_refused(option: str) -> None:
    key, value = option.split()
    options = ["MODEL.DEVICE", "cpu", key, value.strip("'")]
    cfg = load_config(CONFIGS / "Market1501/solider_swin_tiny.yml", options)
    cfg.MODEL.BACKBONE.NUM_BLOCKS = 1
    if "PRETRAIN" not in key:
        cfg.MODEL.BACKBONE.PRETRAIN = False
    with pytest.raises(UserError, match=REFUSED[option]):
        validate_config(cfg)
        build_model(cfg)
