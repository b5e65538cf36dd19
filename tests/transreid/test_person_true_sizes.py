"""Files of the true sizes, under released names, into the models of our configs.

Held against a naive forward pass that is written from the equations (tests/support/naive_vit.py).
Of a ViT-B that has its first blocks; names and shapes are those of all twelve.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from fastreid.modeling import build_backbone, build_model
from fastreid.utils.checkpoint import Checkpointer
from naive_vit import naive_vit, random_state, vit_shapes
from person_backbones import spread
from reid_core.config import load_config
from torch import Tensor
from transreid.weights.formats import recognise

CONFIGS = Path(__file__).parents[2] / "projects" / "TransReID" / "configs"
TOLERANCE = 1e-4


def image(size: tuple[int, int] = (256, 128)) -> Tensor:
    return torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(1))


def cls_from_file(config: str, content: object, folder: Path, *options: object) -> Tensor:
    """[cls] of the backbone of a config whose PRETRAIN_PATH is a file with this content."""
    path = folder / "weights.pth"
    torch.save(content, path)
    options = ("MODEL.DEVICE", "cpu", "MODEL.BACKBONE.PRETRAIN_PATH", str(path), *options)
    cfg = load_config(CONFIGS / f"{config}.yml", list(options))
    backbone = build_backbone(cfg).eval()
    path.unlink()
    with torch.no_grad():
        return backbone(image(tuple(cfg.INPUT.SIZE_TEST)))[:, :, 0, 0]


def shapes_agree(config: str, state: dict[str, Tensor], *options: object) -> None:
    """A file with these tensors has each parameter of a config's model, in its shape, and no more.

    Without memory for either: the tensors are on torch's meta device.
    """
    options = ("MODEL.DEVICE", "meta", "MODEL.BACKBONE.PRETRAIN", False, *options)
    cfg = load_config(CONFIGS / f"{config}.yml", list(options))
    with torch.device("meta"):
        own = {k: v.shape for k, v in build_model(cfg).state_dict().items() if ".sie.c" not in k}
    given = {k: v.shape for k, v in recognise(state, "a file").state.items()}
    assert given == {k: v for k, v in own.items() if k != "backbone.sie.trained_rows"}


def meta(shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    return {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}


def test_personvit(tmp_path: Path) -> None:
    """ViT-S; the shapes of ViT-B are those of ssl_vit_base in test_checkpoint.py."""
    state = random_state(vit_shapes(384, 12, 129))
    teacher = {f"backbone.{key}": value for key, value in state.items()}
    teacher |= {"head.mlp.0.weight": torch.zeros(2048, 384)}
    content = {"teacher": teacher, "epoch": 220, "args": argparse.Namespace(arch="vit_small")}
    got = cls_from_file("Market1501/personvit_vit_small", content, tmp_path)
    expected = naive_vit(state, image(), heads=6)[:, 0]
    assert spread(got, expected) < TOLERANCE


CLIP_NAMES = {  # timm's -> CLIP's
    "cls_token": "class_embedding",
    "pos_embed": "positional_embedding",
    "patch_embed.proj.weight": "conv1.weight",
    "norm_pre.weight": "ln_pre.weight",
    "norm_pre.bias": "ln_pre.bias",
    "norm.weight": "ln_post.weight",
    "norm.bias": "ln_post.bias",
}
CLIP_LAYERS = {
    "norm1.": "ln_1.",
    "norm2.": "ln_2.",
    "attn.qkv.": "attn.in_proj_",
    "attn.proj.": "attn.out_proj.",
    "mlp.fc1.": "mlp.c_fc.",
    "mlp.fc2.": "mlp.c_proj.",
}


def clip_name(name: str) -> str:
    if name in CLIP_NAMES:
        return CLIP_NAMES[name]
    _, number, layer = name.split(".", 2)
    for ours, theirs in CLIP_LAYERS.items():
        layer = layer.replace(ours, theirs)
    return f"transformer.resblocks.{number}.{layer}"


def clip_reid_shapes(depth: int, rows: int) -> dict[str, tuple[int, ...]]:
    """ViT-B of CLIP, under timm's names."""
    shapes = vit_shapes(768, depth, rows)
    del shapes["patch_embed.proj.bias"]
    return {**shapes, "norm_pre.weight": (768,), "norm_pre.bias": (768,)}


def clip_reid_heads(classes: int) -> dict[str, tuple[int, ...]]:
    heads: dict[str, tuple[int, ...]] = {"cv_embed": (6, 768), "image_encoder.proj": (768, 512)}
    for name, width in (("", 768), ("_proj", 512)):
        heads[f"classifier{name}.weight"] = (classes, width)
        for part in ("weight", "bias", "running_mean", "running_var"):
            heads[f"bottleneck{name}.{part}"] = (width,)
        heads[f"bottleneck{name}.num_batches_tracked"] = ()
    return heads


def test_names_and_shapes_of_clip_reid() -> None:
    flat = {"cls_token": (768,), "pos_embed": (211, 768)}
    shapes = {**clip_reid_shapes(12, 211), **flat}
    tower = {f"image_encoder.{clip_name(k)}": v for k, v in shapes.items()}
    texts = {"text_encoder.ln_final.weight": (512,), "prompt_learner.cls_ctx": (751, 4, 512)}
    state = meta(tower | clip_reid_heads(751) | texts)
    classes = ("MODEL.HEADS.NUM_CLASSES", 751)
    shapes_agree("Market1501/clip_reid_vit_base_sie_stride", state, *classes)


def test_clip_reid(tmp_path: Path) -> None:
    """MODEL.WEIGHTS: the feature of 1280 numbers, with the camera on [cls] alone."""
    vit = random_state(clip_reid_shapes(2, 211))
    heads = random_state(clip_reid_heads(3), seed=1)
    squeezed = {"cls_token": vit["cls_token"][0, 0], "pos_embed": vit["pos_embed"][0]}
    tower = {f"image_encoder.{clip_name(k)}": v for k, v in {**vit, **squeezed}.items()}
    torch.save({**tower, **heads}, tmp_path / "ViT-B-16_60.pth")
    options = ["MODEL.DEVICE", "cpu", "MODEL.BACKBONE.PRETRAIN", False]
    options += ["MODEL.BACKBONE.NUM_BLOCKS", 2, "MODEL.HEADS.NUM_CLASSES", 3]
    cfg = load_config(CONFIGS / "Market1501/clip_reid_vit_base_sie_stride.yml", options)
    model = build_model(cfg).eval()
    Checkpointer(model).load(str(tmp_path / "ViT-B-16_60.pth"))
    with torch.no_grad():
        got = model({"images": image() * 127.5 + 127.5, "camids": torch.tensor([4])})
    w = {**vit, "cls_token": vit["cls_token"] + heads["cv_embed"][4]}
    cls = naive_vit(w, image(), heads=12, eps=1e-5, act="quick_gelu", stride=12)[:, 0]
    expected = torch.cat([cls, cls @ heads["image_encoder.proj"]], 1)
    assert got.shape == (1, 1280) and spread(got, expected) < TOLERANCE


def pass_shapes(dim: int) -> dict[str, tuple[int, ...]]:
    """The backbone of PASS under its own names."""
    shapes = vit_shapes(dim, 12, 128)
    for number in (1, 2, 3):
        shapes |= {f"part_token{number}": (1, 1, dim), f"part{number}_pos": (1, 1, dim)}
    return {**shapes, "cls_pos": (1, 1, dim)}


def test_names_and_shapes_of_pass() -> None:
    shapes = {f"base.{key}": shape for key, shape in pass_shapes(768).items()}
    shapes |= {"base.fc.weight": (1000, 768), "classifier.weight": (751, 1536)}
    for suffix in ("", "_1", "_2", "_3"):
        for part in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"bottleneck{suffix}.{part}"] = (768,)
        shapes[f"bottleneck{suffix}.num_batches_tracked"] = ()
    shapes_agree("MSMT17/pass_vit_base", meta(shapes), "MODEL.HEADS.NUM_CLASSES", 751)


def test_pass(tmp_path: Path) -> None:
    """The bare file, and [cls] among its part tokens."""
    state = random_state(pass_shapes(384))
    got = cls_from_file("OccludedDuke/pass_vit_small", state, tmp_path)
    parts = [state[f"part_token{number}"] for number in (1, 2, 3)]
    positions = [state["cls_pos"], *(state[f"part{number}_pos"] for number in (1, 2, 3))]
    table = torch.cat([*positions, state["pos_embed"]], 1)
    w = {**state, "reg_token": torch.cat(parts, 1), "pos_embed": table}
    assert spread(got, naive_vit(w, image(), heads=6)[:, 0]) < TOLERANCE
