"""The backbone: ViTs by name, stems, gradient checkpointing, views of several sizes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from fastreid.modeling.backbones import build_backbone
from reid_common.errors import UserError
from small_inference import small_cfg
from transreid import TransReIDBackbone
from transreid.modeling.cls_attention import cls_of_block
from transreid.modeling.patch_embed import pos_embed_for_view, resize_pos_embed
from transreid.modeling.sincos import begin_with_sincos, sincos_positions
from transreid.modeling.vits import create_vit


def backbone(stem: str = "patch", drop_path: float = 0.0, **options: object) -> TransReIDBackbone:
    torch.manual_seed(0)
    vit = create_vit("vit_tiny_patch16_224", 3, drop_path_rate=drop_path)
    return TransReIDBackbone(vit, (64, 32), (16, 16), stem=stem, **options)


def test_the_released_vit_small_has_eight_wide_layers() -> None:
    vit = create_vit("vit_small_8l_transreid")
    assert (len(vit.blocks), vit.embed_dim, vit.blocks[0].attn.num_heads) == (8, 768, 8)
    assert vit.blocks[0].mlp.fc1.out_features == 3 * 768
    assert vit.blocks[0].attn.qkv.bias is None
    assert not any("q_norm" in key for key in vit.state_dict())


def test_the_released_vit_small_scales_attention_by_its_width() -> None:
    """By 768^-0.5, not 96^-0.5: against attention written out, whole block and [cls] alone."""
    block = create_vit("vit_small_8l_transreid", 1).blocks[0].eval()
    torch.nn.init.normal_(block.attn.qkv.weight, std=0.1)  # so that the scale matters
    tokens = torch.randn(2, 5, 768)
    x = block.norm1(tokens)
    q, k, v = block.attn.qkv(x).view(2, 5, 3, 8, 96).permute(2, 0, 3, 1, 4)
    weights = (q @ k.transpose(-2, -1) * 768**-0.5).softmax(-1)
    attended = block.attn.proj((weights @ v).transpose(1, 2).flatten(2))
    torch.testing.assert_close(block.attn(x), attended, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(cls_of_block(block, tokens), block(tokens)[:, 0])


def test_names_without_a_download_say_so() -> None:
    with pytest.raises(RuntimeError, match="vit_small_p16_224-15ec54c9"):
        create_vit("vit_small_8l_transreid", pretrained=True)


@pytest.mark.parametrize("stride", [(16, 16), (12, 12)])
def test_the_ics_stem_has_the_grid_of_the_patches(stride: tuple[int, int]) -> None:
    vit = create_vit("vit_tiny_patch16_224", 1)
    plain, ics = (TransReIDBackbone(vit, (256, 128), stride, stem=s) for s in ("patch", "ics"))
    assert plain.patch_embed.grid_size == ics.patch_embed.grid_size
    images = torch.zeros(1, 3, 256, 128)
    assert ics.patch_embed(images).shape == plain.patch_embed(images).shape


@pytest.mark.parametrize(
    "stem, stride, message",
    [
        ("cnn", (16, 16), "STEM: 'cnn' is unknown.*ics, patch"),
        ("ics", (11, 11), "STRIDE_SIZE size .* must be even"),
    ],
)
def test_stems_that_cannot_be(stem: str, stride: tuple[int, int], message: str) -> None:
    vit = create_vit("vit_tiny_patch16_224", 1)
    with pytest.raises(UserError, match=message):
        TransReIDBackbone(vit, (256, 128), stride, stem=stem)


@pytest.mark.parametrize("method", ["forward", "forward_features"])
def test_gradient_checkpointing_changes_no_gradient(method: str) -> None:
    """Nor does it draw other paths to drop."""
    gradients = []
    for recompute in (False, True):
        model = backbone(drop_path=0.5, gradient_checkpointing=recompute).train()
        torch.manual_seed(1)
        images = torch.rand(4, 3, 64, 32)
        getattr(model, method)(images).square().mean().backward()
        gradients.append([p.grad for p in model.parameters()])
    for plain, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, recomputed)


def test_gradient_checkpointing_keeps_fewer_activations() -> None:
    saved = []
    for recompute in (False, True):
        model, count = backbone(gradient_checkpointing=recompute).train(), []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda tensor, count=count: count.append(tensor.numel()) or tensor, lambda t: t
        ):
            model.forward_features(torch.rand(4, 3, 64, 32))
        saved.append(sum(count))
    assert saved[1] < saved[0] / 3


def test_views_of_another_size() -> None:
    model = backbone().eval()
    with pytest.raises(ValueError, match="images are"):
        model(torch.rand(1, 3, 32, 16))
    own = model(torch.rand(2, 3, 64, 32))
    model.any_size = True
    assert model(torch.rand(2, 3, 32, 16)).shape == own.shape
    images = torch.rand(2, 3, 64, 32)
    any_size = model(images)
    model.any_size = False
    assert torch.equal(any_size, model(images))


def test_position_embeddings_of_a_view() -> None:
    """Near a plain bicubic resize, from which DINO's 0.1 takes it a little; [cls] stays."""
    pos_embed = torch.linspace(0, 1, 8 * 4 + 1).repeat(6, 1).T[None].contiguous()
    view = pos_embed_for_view(pos_embed, (8, 4), (4, 2))
    plain = resize_pos_embed(pos_embed, (8, 4), (4, 2), mode="bicubic")
    assert view.shape == plain.shape == (1, 9, 6)
    assert torch.equal(view[:, 0], pos_embed[:, 0])
    torch.testing.assert_close(view, plain, atol=0.03, rtol=0)
    assert not torch.equal(view, plain)


def test_positions_may_begin_as_sines_and_cosines(tmp_path) -> None:
    """By config; trained from there; weights that are loaded come before them."""
    options: dict[str, object] = {"MODEL__SIE__CAMERA": False}
    options |= {"MODEL__BACKBONE__STRIDE_SIZE": [12, 12], "MODEL__BACKBONE__POSITIONS": "sincos"}
    built = build_backbone(small_cfg(**options))
    rows, columns = built.patch_embed.grid_size
    assert rows != columns
    assert not built.pos_embed[:, :1].any(), "of [cls]"
    assert torch.equal(built.pos_embed[:, 1:], sincos_positions((rows, columns), built.embed_dim))
    assert built.pos_embed.requires_grad
    weights = backbone_weights(tmp_path / "weights.pth", built)
    options |= {"MODEL__BACKBONE__PRETRAIN": True, "MODEL__BACKBONE__PRETRAIN_PATH": weights}
    loaded = build_backbone(small_cfg(**options))
    torch.testing.assert_close(loaded.pos_embed, torch.full_like(loaded.pos_embed, 0.5))


def backbone_weights(path: Path, built: TransReIDBackbone) -> str:
    """A file of a backbone's weights, with 0.5 for all positions."""
    state = {name: value.clone() for name, value in built.state_dict().items()}
    state["pos_embed"].fill_(0.5)
    torch.save(state, path)
    return str(path)


def test_positions_that_cannot_be_sines() -> None:
    model = backbone()
    model.pos_embed = None
    with pytest.raises(UserError, match=r"POSITIONS sincos.*DINOv3.*leave it at random"):
        begin_with_sincos(model)
