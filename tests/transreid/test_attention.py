"""Attention maps: weights against timm's attention, rollout by hand, parts through the jigsaw."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from reid_common.errors import UserError
from timm.layers import Attention
from timm.models.vision_transformer import ResPostBlock, VisionTransformer
from torch import Tensor, nn
from transreid import BNNeckHead, JPMHead, TransReID, TransReIDBackbone
from transreid.modeling.jigsaw import jigsaw_parts
from transreid.modeling.patch_embed import OverlapPatchEmbed
from transreid.modeling.side_embedding import SideInformationEmbedding
from transreid.modeling.vits import QueryScale
from transreid.visualize.attention import (
    attention_maps,
    attention_weights,
    part_patches,
    rollout_step,
    to_pixels,
)

SIZE = (64, 32)


def small_model(
    jpm: bool = True, sie: bool = False, backbone_options: dict | None = None, **vit_options
) -> TransReID:
    """Three blocks of 24 dimensions at 64x32; stride 12 gives an odd grid of 5x2 patches."""
    sizes = {"img_size": SIZE, "embed_dim": 24, "depth": 3, "num_heads": 3, "num_classes": 0}
    vit = VisionTransformer(**{**sizes, **vit_options})
    table = SideInformationEmbedding(4, 0, 24) if sie else None
    options = {"stride_size": (12, 12), "sie": table, **(backbone_options or {})}
    head = {"feat_dim": 24, "num_classes": 5}
    return TransReID(
        backbone=TransReIDBackbone(vit, SIZE, **options),
        heads=JPMHead(**head) if jpm else BNNeckHead(**head),
        pixel_mean=[127.5] * 3,
        pixel_std=[127.5] * 3,
        loss_kwargs={"loss_names": ()},
    )


def pictures(count: int = 2) -> Tensor:
    return torch.rand(count, 3, *SIZE) * 255


@pytest.mark.parametrize(
    "options",
    [
        {"qkv_bias": True},
        {"qkv_bias": False},
        {"qk_norm": True, "norm_layer": partial(nn.LayerNorm, eps=1e-6)},
        {"query_scale": 0.4},
    ],
    ids=str,
)
@pytest.mark.parametrize("fused", [True, False])
def test_weights_reproduce_timms_attention(options: dict, fused: bool) -> None:
    scale = options.get("query_scale")
    attn = Attention(24, 3, **{k: v for k, v in options.items() if k != "query_scale"}).eval()
    attn.fused_attn = fused
    if scale:
        attn.q_norm = QueryScale(scale)
    tokens = torch.randn(2, 11, 24) * 3
    weights = attention_weights(attn, tokens)
    assert weights.shape == (2, 3, 11, 11)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 3, 11))
    values = attn.qkv(tokens)[..., 48:].unflatten(2, (3, 8)).transpose(1, 2)
    read = (weights @ values).transpose(1, 2).flatten(2)
    torch.testing.assert_close(attn.proj(read), attn(tokens), atol=1e-5, rtol=1e-4)


def test_rollout_by_hand() -> None:
    # [cls] and one patch. Layer 1 mixed: [[.5, .5], [.25, .75]]; layer 2: [[.75, .25], [0, 1]];
    # their product: [[.75 * .5 + .25 * .25, .75 * .5 + .25 * .75], [.25, .75]].
    first = torch.tensor([[[0.0, 1.0], [0.5, 0.5]]])
    second = torch.tensor([[[0.5, 0.5], [0.0, 1.0]]])
    flow = rollout_step(rollout_step(None, first), second)
    torch.testing.assert_close(flow, torch.tensor([[[0.4375, 0.5625], [0.25, 0.75]]]))


@pytest.mark.parametrize("jpm", [True, False], ids=["jpm", "baseline"])
def test_global_maps_are_those_of_a_plain_loop(jpm: bool) -> None:
    """Block by block, with the full last block, which the model itself computes for [cls] only."""
    model, images = small_model(jpm), pictures()
    backbone = model.backbone.eval()
    blocks = list(backbone.blocks) + ([model.heads.global_branch.block] if jpm else [])
    with torch.no_grad():
        tokens = backbone.embed((images - 127.5) / 127.5)
        flow = torch.eye(11)
        for block in blocks:
            attention = attention_weights(block.attn, block.norm1(tokens)).mean(1)
            flow = (attention + torch.eye(11)) / 2 @ flow
            tokens = block(tokens)
    maps = attention_maps(model, {"images": images})
    assert len(blocks) == 3
    torch.testing.assert_close(maps.rollout, flow[:, 0, 1:].reshape(2, 5, 2))
    torch.testing.assert_close(maps.last, attention[:, 0, 1:].reshape(2, 5, 2))
    assert (maps.parts is not None) == jpm


def test_parts_are_mapped_back_to_their_patches() -> None:
    """Recompute each part alone, and look every weight up where the jigsaw took its patch from."""
    model, images = small_model(), pictures()
    maps = attention_maps(model, {"images": images})
    head, block = model.heads, model.heads.local_branch.block
    with torch.no_grad():
        tokens = model.backbone.forward_features((images - 127.5) / 127.5)
        parts = jigsaw_parts(tokens[:, 1:], 4, 5, 2)
        # N = 10, m = 5, g = 2: 4..9 0..3, dealt out: 4 9 5 0 6 1 7 2 8 3, two a part.
        expected = [[4, 9], [5, 0], [6, 1], [7, 2]]
        assert part_patches(head, 10).tolist() == expected
        for j, patches in enumerate(expected):
            weights = attention_weights(
                block.attn, block.norm1(torch.cat([tokens[:, :1], parts[:, j]], 1))
            )
            found = maps.parts[:, j].flatten(1)
            torch.testing.assert_close(found[:, patches], weights.mean(1)[:, 0, 1:])
            assert found.isnan().sum(1).tolist() == [8, 8]


def test_a_patch_that_is_in_a_part_twice_gets_both_weights() -> None:
    model = small_model(backbone_options={"stride_size": (16, 16)})  # 4x2 patches
    model.heads.num_parts, model.heads.shuffle_groups = 1, 3
    model.heads.shift_num = 1
    # 0..7 and 6 in three groups: 0 3 6 1 4 7 2 5 6, of which the one part keeps 8.
    assert part_patches(model.heads, 8).tolist() == [[0, 3, 6, 1, 4, 7, 2, 5]]
    # 5 groups append 6 6, view (5, 2), transpose: 0 2 4 6 6 1 3 5, of which 6 is there twice.
    model.heads.shuffle_groups = 5
    assert part_patches(model.heads, 8).tolist() == [[0, 2, 4, 6, 6, 1, 3, 5]]
    part = attention_maps(model, {"images": pictures()}).parts[:, 0].flatten(1)
    assert part[:, 7].isnan().all()
    assert (part[:, 6] > 1.5 * part[:, 0]).all()  # random weights attend about evenly


@pytest.mark.parametrize(
    "options",
    [
        {"reg_tokens": 3},
        {"reg_tokens": 2, "no_embed_class": True},
        {"qkv_bias": False},
        {"qk_norm": True},
        {"block_fn": ResPostBlock},
        {"backbone_options": {"stem": "ics"}},
        {"backbone_options": {"gradient_checkpointing": True}},
    ],
    ids=str,
)
def test_every_kind_of_vit_has_maps(options: dict) -> None:
    model, images = small_model(**options), pictures(3)
    if options.get("block_fn") is ResPostBlock:  # its norms start as zeros
        nn.init.ones_(model.heads.global_branch.block.norm1.weight)
    maps = attention_maps(model, images)
    assert maps.rollout.shape == maps.last.shape == (3, 5, 2)
    assert maps.parts.shape == (3, 4, 5, 2)
    prefixes = model.backbone.num_prefix_tokens
    for sums in (maps.rollout.sum((1, 2)), maps.last.sum((1, 2)), maps.parts.nansum((2, 3))):
        assert (sums > 0).all() and (sums < 1).all()
    if prefixes > 1:  # the more tokens in front, the less is left for the patches
        assert maps.last.sum((1, 2)).max() < 10 / (10 + prefixes - 1) + 0.1


def test_the_model_is_left_as_it_was() -> None:
    model, images = small_model(sie=True), pictures()
    batch = {"images": images, "camids": torch.tensor([0, 3])}
    expected = model.eval()(batch)
    model.train()
    model.heads.necks[1].eval()  # as frozen layers are
    state = {name: value.clone() for name, value in model.state_dict().items()}
    maps = attention_maps(model, batch)
    assert model.training and not model.heads.necks[1].training
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    torch.testing.assert_close(model.eval()(batch), expected)
    assert not maps.rollout.requires_grad
    other = attention_maps(model, {**batch, "camids": torch.tensor([1, 2])})
    assert not torch.equal(maps.rollout, other.rollout)  # the camera counts


def test_other_models_are_refused() -> None:
    with pytest.raises(UserError, match="TransReIDBackbone, not Linear"):
        attention_maps(nn.Linear(2, 2), pictures())
    model = small_model()
    model.backbone.blocks[1].attn = nn.Identity()
    with pytest.raises(UserError, match="plain attention, not Block with Identity"):
        attention_maps(model, pictures())
    assert not any(m._forward_hooks for m in model.modules())


def test_blocks_that_do_not_show_their_attention_are_an_error(monkeypatch) -> None:
    model = small_model()
    monkeypatch.setattr(model.backbone, "forward_features", lambda *_: torch.zeros(2, 11, 24))
    with pytest.raises(UserError, match=r"1 of 3 blocks .* MODEL\.COMPILE False"):
        attention_maps(model, pictures())


@pytest.mark.parametrize("stem", ["patch", "ics"])
def test_values_stand_at_the_centres_of_overlapping_patches(stem: str) -> None:
    embed = OverlapPatchEmbed((256, 128), (16, 16), (12, 12), 8, stem=stem)
    maps = torch.rand(2, 3, 21, 10)
    pixels = to_pixels(maps, embed)
    assert pixels.shape == (2, 3, 256, 128)
    # Patch (r, c) covers rows 12 r .. 12 r + 15: its centre is between 12 r + 7 and 12 r + 8.
    rows, columns = 12 * torch.arange(21) + 7, 12 * torch.arange(10) + 7
    around = torch.stack(
        [pixels[..., rows + i, :][..., columns + j] for i in (0, 1) for j in (0, 1)]
    )
    inner = (around.mean(0) - maps)[..., 1:-1, 1:-1].abs().max()
    # Half a pixel along an axis changes a value by at most 1 / 24, or 2 / 24 along both.
    assert inner < 2 / 24
    assert torch.equal(pixels[..., 0, 0], maps[..., 0, 0])  # beyond the outermost centres
    assert torch.equal(pixels[..., -1, -1], maps[..., -1, -1])


def test_linear_maps_stay_linear_and_nan_stays_sharp() -> None:
    embed = OverlapPatchEmbed((64, 32), (16, 16), (12, 12), 8)  # 5x2 patches
    ramp = torch.arange(5.0)[:, None].expand(5, 2).clone()
    pixels = to_pixels(ramp, embed)
    # Row y has the value (y - 7.5) / 12, within the outermost centres.
    expected = ((torch.arange(64) - 7.5) / 12).clamp(0, 4)
    torch.testing.assert_close(pixels, expected[:, None].expand(64, 32))
    ramp[2] = torch.nan
    pixels = to_pixels(ramp, embed)
    # Nearest to row 2, whose centre is 31.5: pixels 25.5 .. 37.5.
    assert pixels.isnan()[:, 0].nonzero().flatten().tolist() == list(range(26, 38))
    assert set(pixels[~pixels.isnan()].tolist()) == {0.0, 1.0, 3.0, 4.0}
