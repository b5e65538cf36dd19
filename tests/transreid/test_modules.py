"""Modules of the model: patches, jigsaw, last block, heads."""

from __future__ import annotations

import pytest
import timm
import torch
from fastreid.utils.events import EventStorage
from reid_common.errors import UserError
from timm.models.vision_transformer import Block
from transreid import BNNeckHead, JPMHead, TransReID, TransReIDBackbone
from transreid.modeling.bnneck import CLASSIFIERS
from transreid.modeling.cls_attention import cls_of_block
from transreid.modeling.jigsaw import jigsaw_parts, shift_tokens, shuffle_tokens
from transreid.modeling.patch_embed import OverlapPatchEmbed, patch_grid
from transreid.modeling.side_embedding import SideInformationEmbedding


def numbered(count: int) -> torch.Tensor:
    """Tokens 0..count-1 of one image, one dimension each: (1, count, 1)."""
    return torch.arange(float(count))[None, :, None]


@pytest.mark.parametrize(
    "stride, grid",
    [(16, (16, 8)), (12, (21, 10)), (11, (22, 11))],  # 128, 210, 242 patches
)
def test_patch_grid_of_the_paper(stride: int, grid: tuple[int, int]) -> None:
    assert patch_grid((256, 128), (16, 16), (stride, stride)) == grid
    embed = OverlapPatchEmbed((256, 128), (16, 16), (stride, stride), 8)
    assert embed(torch.zeros(2, 3, 256, 128)).shape == (2, grid[0] * grid[1], 8)


def test_images_of_another_size_are_refused() -> None:
    embed = OverlapPatchEmbed((64, 32), (16, 16), (16, 16), 8)
    with pytest.raises(ValueError, match=r"INPUT\.SIZE_TRAIN"):
        embed(torch.zeros(1, 3, 128, 64))
    with pytest.raises(ValueError, match="smaller than one patch"):
        patch_grid((8, 8), (16, 16), (16, 16))


def test_shift_moves_one_token_less_than_m() -> None:
    # [cls] + 6 patches, m = 3: Z[3:] is patches 2..5, then Z[1:3] is patches 0, 1.
    assert shift_tokens(numbered(6), 3).flatten().tolist() == [2, 3, 4, 5, 0, 1]


def test_shuffle_deals_tokens_out() -> None:
    # (2 groups, 3) = [[0, 1, 2], [3, 4, 5]], transposed and flattened.
    assert shuffle_tokens(numbered(6), 2).flatten().tolist() == [0, 3, 1, 4, 2, 5]


def test_shuffle_of_an_odd_count_appends_the_second_to_last_token() -> None:
    # 0 1 2 3 4 -> 0 1 2 3 4 3 -> [[0, 1, 2], [3, 4, 3]]
    assert shuffle_tokens(numbered(5), 2).flatten().tolist() == [0, 3, 1, 4, 2, 3]
    # 3 groups of 7: two are missing, 0..6 5 5 -> [[0, 1, 2], [3, 4, 5], [6, 5, 5]]
    assert shuffle_tokens(numbered(7), 3).flatten().tolist() == [0, 3, 6, 1, 4, 5, 2, 5, 5]


def test_parts_drop_what_is_left_over() -> None:
    parts = jigsaw_parts(numbered(10), num_parts=4, shift_num=5, shuffle_groups=2, rearrange=False)
    assert parts[0, :, :, 0].tolist() == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert jigsaw_parts(numbered(210), 4, 5, 2).shape == (1, 4, 52, 1)  # 2 of 210 dropped


@pytest.mark.parametrize(
    "options",
    [{}, {"init_values": 1e-2}, {"qk_norm": True}, {"qkv_bias": False}],
    ids=str,
)
def test_cls_of_block_equals_the_whole_block(options: dict) -> None:
    block = Block(32, num_heads=4, **{"qkv_bias": True, **options}).eval()
    tokens = torch.randn(3, 7, 32)
    torch.testing.assert_close(cls_of_block(block, tokens), block(tokens)[:, 0])


def test_cls_of_block_drops_the_same_paths_in_training() -> None:
    block = Block(32, num_heads=4, qkv_bias=True, drop_path=0.5).train()
    tokens = torch.randn(16, 7, 32)
    torch.manual_seed(3)
    ours = cls_of_block(block, tokens)
    torch.manual_seed(3)
    torch.testing.assert_close(ours, block(tokens)[:, 0])
    assert not torch.allclose(ours, cls_of_block(block.eval(), tokens))


def test_cls_of_block_has_the_gradients_of_the_whole_block() -> None:
    block = Block(32, num_heads=4, qkv_bias=True)
    gradients = []
    for function in (cls_of_block, lambda b, x: b(x)[:, 0]):
        tokens = torch.linspace(-1, 1, 3 * 7 * 32).sin().view(3, 7, 32).requires_grad_()
        block.zero_grad()
        function(block, tokens).square().sum().backward()
        gradients.append([tokens.grad, *(p.grad.clone() for p in block.parameters())])
    for ours, whole in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, whole, atol=1e-4, rtol=1e-4)


LOSSES = {
    "loss_names": ("CrossEntropyLoss", "TripletLoss"),
    "ce": {"eps": 0.1, "alpha": 0.2, "scale": 1.0},
    "tri": {"margin": 0.0, "norm_feat": False, "hard_mining": True, "scale": 1.0},
}


def build(name: str, heads: torch.nn.Module, cameras: int = 3, **options: object) -> TransReID:
    vit = timm.create_model(name, num_classes=0, depth=2, **options)
    sie = SideInformationEmbedding(cameras, 0, vit.embed_dim)
    size = [4 * p for p in vit.patch_embed.patch_size]
    backbone = TransReIDBackbone(vit, size, vit.patch_embed.patch_size, sie)
    return TransReID(
        backbone=backbone,
        heads=heads,
        pixel_mean=[127.5] * 3,
        pixel_std=[127.5] * 3,
        loss_kwargs=LOSSES,
    )


def batch_for(model: TransReID, count: int = 4) -> dict[str, torch.Tensor]:
    size = model.backbone.patch_embed.image_size
    return {
        "images": torch.rand(count, 3, *size) * 255,
        "targets": torch.arange(count) // 2,
        "camids": torch.arange(count) % 3,
        "viewids": torch.zeros(count, dtype=torch.long),
    }


@pytest.mark.parametrize("cls_type", list(CLASSIFIERS))
@pytest.mark.parametrize(
    "name, dim",
    [
        ("deit_small_patch16_224", 384),  # the released JPM crashes: 768 is written into it
        ("deit_tiny_distilled_patch16_224", 192),
        ("vit_small_patch14_reg4_dinov2", 384),  # registers, layer scale
        ("deit3_small_patch16_224", 384),  # no position embedding for [cls]
    ],
)
def test_jpm_on_other_vits_and_classifiers(name: str, dim: int, cls_type: str) -> None:
    heads = JPMHead(feat_dim=dim, num_classes=2, cls_type=cls_type, scale=8, margin=0.1)
    model = build(name, heads).train()
    batch = batch_for(model)
    before = batch["images"].clone()
    with EventStorage(0):
        losses = model(batch)
    assert set(losses) == {
        "loss_cls",
        "loss_triplet",
        "loss_cls_local",
        "loss_triplet_local",
    }
    torch.stack(list(losses.values())).sum().backward()
    without = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert without == []
    assert torch.equal(batch["images"], before), "the caller's images were changed"
    model.eval()
    assert model(batch).shape == (4, 5 * dim)


def test_branches_are_copies_of_the_last_block() -> None:
    heads = JPMHead(feat_dim=192, num_classes=2)
    model = build("vit_tiny_patch16_224", heads)
    assert len(model.backbone.blocks) == 1
    pairs = zip(heads.global_branch.parameters(), heads.local_branch.parameters(), strict=True)
    assert all(torch.equal(a, b) and a is not b for a, b in pairs)


def test_the_parts_as_one_batch_equal_one_call_a_part() -> None:
    heads = JPMHead(feat_dim=192, num_classes=2)
    model = build("vit_tiny_patch16_224", heads).eval()
    batch = batch_for(model)
    tokens = model.backbone.forward_features(model.preprocess_image(batch), batch["camids"])
    features = heads.branch_features(tokens)
    parts = jigsaw_parts(tokens[:, 1:], 4, 5, 2)
    for j in range(4):
        one = heads.local_branch(torch.cat([tokens[:, :1], parts[:, j]], dim=1))
        torch.testing.assert_close(features[1 + j], one)


def test_one_image_at_test_time() -> None:
    model = build("vit_tiny_patch16_224", BNNeckHead(feat_dim=192, num_classes=0)).eval()
    assert model(batch_for(model, count=1)).shape == (1, 192)


def test_bf16_is_close() -> None:
    model = build("vit_tiny_patch16_224", JPMHead(feat_dim=192, num_classes=2)).eval()
    batch = batch_for(model)
    full = model(batch)
    with torch.autocast("cpu", torch.bfloat16):
        half = model(batch)
    cosine = torch.nn.functional.cosine_similarity(full, half.float())
    assert cosine.min() > 0.99


def test_losses_under_autocast_are_float32() -> None:
    model = build("vit_tiny_patch16_224", JPMHead(feat_dim=192, num_classes=2)).train()
    batch = batch_for(model)
    with EventStorage(0):
        full = model(batch)
        with torch.autocast("cpu", torch.bfloat16):
            half = model(batch)
    for name, loss in half.items():
        assert loss.dtype == torch.float32
        torch.testing.assert_close(loss, full[name], atol=0.05, rtol=0.05)


def test_bad_head_settings_are_named() -> None:
    with pytest.raises(UserError, match="CLS_LAYER is 'Softmax'"):
        BNNeckHead(feat_dim=8, num_classes=2, cls_type="Softmax")
    with pytest.raises(UserError, match="TEST_NECK_FEAT: 'middle' is unknown"):
        JPMHead(feat_dim=8, num_classes=2, test_neck_feat="middle")
    with pytest.raises(UserError, match="NUM_PARTS = 32"):
        build("vit_tiny_patch16_224", JPMHead(feat_dim=192, num_classes=2, num_parts=32))
