"""What a file's ViT has and the model lacks is an error that names it; heads are left out."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from fastreid.utils.checkpoint import Checkpointer
from golden_models import GoldenModel, build
from reid_common.errors import UserError
from transreid import TransReIDBackbone, load_weights
from transreid.weights.released import to_released

DIM = 192


def backbone(**options: object) -> TransReIDBackbone:
    vit = timm.create_model("vit_tiny_patch16_224", num_classes=0, depth=1, **options)
    return TransReIDBackbone(vit, [64, 32], (16, 16))


def save(state: object, folder: Path) -> str:
    torch.save(state, folder / "weights.pth")
    return str(folder / "weights.pth")


PARTS = {
    "layer scale": {"blocks.0.ls1.gamma": (DIM,), "blocks.0.ls2.gamma": (DIM,)},
    "norms of queries and keys": {"blocks.0.attn.q_norm.weight": (64,)},
    "part tokens": {"part_tokens": (1, 3, DIM)},
    "part tokens of PASS": {"part_token1": (1, 1, DIM)},
    "registers": {"reg_token": (1, 4, DIM)},
    "a norm before the blocks": {"norm_pre.weight": (DIM,)},
    "relative positions": {"blocks.0.attn.relative_position_bias_table": (9, 3)},
}


@pytest.mark.parametrize("prefix", ["", "backbone.", "module.base_encoder."])
@pytest.mark.parametrize("part", PARTS)
def test_a_part_of_the_vit_without_a_place_is_named(part: str, prefix: str, tmp_path: Path) -> None:
    model = backbone()
    extra = {key: torch.ones(shape) for key, shape in PARTS[part].items()}
    state = {prefix + key: value for key, value in {**model.state_dict(), **extra}.items()}
    before = model.norm.weight.clone()
    with pytest.raises(UserError, match=f"parts that this one lacks.*backbone.{next(iter(extra))}"):
        load_weights(model, save({"state_dict": state}, tmp_path))
    assert torch.equal(model.norm.weight, before)


def test_the_same_parts_load_where_they_have_a_place(tmp_path: Path) -> None:
    model = backbone(init_values=0.1, qk_norm=True, reg_tokens=4)
    report = load_weights(
        backbone(init_values=1, qk_norm=True, reg_tokens=4), save(model.state_dict(), tmp_path)
    )
    assert report.share == 1 and not report.skipped


def test_heads_and_optimizers_are_left_out(tmp_path: Path) -> None:
    model = backbone()
    names = "head.weight fc_norm.bias mask_token decoder_blocks.0.norm.bias projection_head.0.bias"
    extra = {name: torch.ones(3) for name in names.split()}
    content = {"model": {**model.state_dict(), **extra}, "optimizer": {"state": {}}}
    assert load_weights(backbone(), save(content, tmp_path)).share == 1


def test_mocos_query_encoder_is_taken_not_its_momentum_copy(tmp_path: Path) -> None:
    model, copy = backbone(), backbone()
    state = {f"module.momentum_encoder.{k}": v for k, v in copy.state_dict().items()}
    state |= {f"module.base_encoder.{k}": v for k, v in model.state_dict().items()}
    state["module.predictor.0.weight"] = torch.ones(3)
    loaded = backbone()
    load_weights(loaded, save({"state_dict": state}, tmp_path))
    key = "blocks.0.attn.qkv.weight"
    assert torch.equal(loaded.state_dict()[key], model.state_dict()[key])


@pytest.mark.parametrize("key", ["base.blocks.0.ls1.gamma", "base.part_token1", "b1.0.ls1.gamma"])
def test_whole_released_models_are_judged_too(key: str, tmp_path: Path) -> None:
    golden = GoldenModel("transreid_jpm_sie_camera")
    state = {**to_released(golden.model.state_dict()), key: torch.ones(8)}
    path = save(state, tmp_path)
    model = build(golden.meta)
    with pytest.raises(UserError, match="parts that this one lacks"):
        load_weights(model, path)
    with pytest.raises(UserError, match="parts that this one lacks"):
        Checkpointer(model).load(path)
