"""Files of the true sizes, under released names, into the models of our configs.

Held against a naive forward pass that is written from the equations (tests/support/naive_vit.py).
Of a ViT-B that has its first blocks; names and shapes are those of all twelve.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
import torch
import torchvision
from fastreid.modeling import build_backbone, build_model
from fastreid.utils.checkpoint import Checkpointer
from naive_vit import naive_vit, random_state, vit_shapes
from person_backbones import spread
from reid_common.errors import UserError
from reid_core.config import load_config
from torch import Tensor, nn
from transreid.weights.formats import recognise
from transreid.weights.luperson import adapt_luperson

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


@pytest.mark.parametrize(("name", "grid", "prefix"), [("hap", 129, "mae."), ("mae", 197, "")])
def test_hap_and_mae(name: str, grid: int, prefix: str, tmp_path: Path) -> None:
    """Encoders alone; MAE's 14x14 positions resized by hand, HAP's 16x8 as they are."""
    state = random_state(vit_shapes(768, 2, grid))
    extra = {"mask_token": torch.ones(1, 1, 512), "decoder_embed.weight": torch.ones(512, 768)}
    extra |= {"decoder_pos_embed": torch.ones(1, grid, 512)}
    extra |= {"decoder_blocks.0.norm1.weight": torch.ones(512)}
    content = {"model": {prefix + k: v for k, v in {**state, **extra}.items()}, "epoch": 79}
    blocks = ("MODEL.BACKBONE.NUM_BLOCKS", 2)
    got = cls_from_file(f"Market1501/{name}_vit_base", content, tmp_path, *blocks)
    if grid == 197:
        table = state["pos_embed"][:, 1:].view(1, 14, 14, 768).movedim(3, 1)
        resized = nn.functional.interpolate(table, (16, 8), mode="bilinear").movedim(1, 3)
        state["pos_embed"] = torch.cat([state["pos_embed"][:, :1], resized.flatten(1, 2)], 1)
    assert spread(got, naive_vit(state, image(), heads=12)[:, 0]) < TOLERANCE


def lem_shapes(dim: int, classes: int) -> dict[str, tuple[int, ...]]:
    """What a model that HAP's code fine-tuned with lem has beside its ViT."""
    shapes: dict[str, tuple[int, ...]] = {}
    for number in range(3):
        width, block = dim if number == 0 else 2 * dim, f"conv_head.{number}."
        for layer, out, size, kernel in ((1, dim // 2, width, 1), (2, dim // 2, dim // 2, 3)):
            shapes |= {f"{block}conv{layer}.weight": (out, size, kernel, kernel)}
            shapes |= norm_shapes(f"{block}bn{layer}", out)
        shapes |= {f"{block}conv3.weight": (2 * dim, dim // 2, 1, 1)}
        shapes |= norm_shapes(f"{block}bn3", 2 * dim)
    shapes |= {"conv_head.0.downsample.0.weight": (2 * dim, dim, 1, 1)}
    shapes |= norm_shapes("conv_head.0.downsample.1", 2 * dim)
    shapes |= norm_shapes("bn", dim) | norm_shapes("conv_bn", 2 * dim)
    for name, width in (("head", dim), ("conv_fc", 2 * dim)):
        shapes |= {f"{name}.weight": (classes, width), f"{name}.bias": (classes,)}
    return {**shapes, "conv_fc_norm.weight": (2 * dim,), "conv_fc_norm.bias": (2 * dim,)}


def norm_shapes(name: str, width: int) -> dict[str, tuple[int, ...]]:
    parts = ("weight", "bias", "running_mean", "running_var")
    shapes: dict[str, tuple[int, ...]] = {f"{name}.{part}": (width,) for part in parts}
    return {**shapes, f"{name}.num_batches_tracked": ()}


def naive_lem(w: dict[str, Tensor], x: Tensor) -> Tensor:
    """Three bottlenecks of a ResNet on a map (B, D, h, w), mean, LayerNorm: (B, 2D)."""

    def conv(name: str, x: Tensor, stride: int = 1) -> Tensor:
        weight = w[f"{name}.weight"]
        return nn.functional.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2)

    def norm(name: str, x: Tensor) -> Tensor:
        parts = ("running_mean", "running_var", "weight", "bias")
        mean, var, weight, bias = (w[f"{name}.{part}"][:, None, None] for part in parts)
        return (x - mean) / (var + 1e-5).sqrt() * weight + bias

    for number, stride in enumerate((2, 1, 1)):
        block, start = f"conv_head.{number}.", x
        x = norm(f"{block}bn1", conv(f"{block}conv1", x)).clamp(min=0)
        x = norm(f"{block}bn2", conv(f"{block}conv2", x, stride)).clamp(min=0)
        x = norm(f"{block}bn3", conv(f"{block}conv3", x))
        if number == 0:
            start = norm(f"{block}downsample.1", conv(f"{block}downsample.0", start, stride))
        x = (x + start).clamp(min=0)
    x = x.mean((2, 3))
    x = (x - x.mean(1, keepdim=True)) / (x.var(1, keepdim=True, correction=0) + 1e-6).sqrt()
    return x * w["conv_fc_norm.weight"] + w["conv_fc_norm.bias"]


@pytest.fixture
def lem_file(tmp_path: Path) -> dict[str, Tensor]:
    """A model of one block at 384x128, of three identities, as HAP's code saves one."""
    state = random_state(vit_shapes(768, 1, 193) | lem_shapes(768, 3))
    torch.save({"model": state, "epoch": 99, "arch": "lem_base_patch16"}, tmp_path / "lem.pth")
    return state


def feature_of_lem(folder: Path, *options: object) -> Tensor:
    options = ("MODEL.DEVICE", "cpu", "MODEL.BACKBONE.PRETRAIN", False, *options)
    options = (*options, "MODEL.BACKBONE.NUM_BLOCKS", 1, "MODEL.HEADS.NUM_CLASSES", 3)
    model = build_model(load_config(CONFIGS / "MSMT17/hap_vit_base_lem.yml", list(options))).eval()
    Checkpointer(model).load(str(folder / "lem.pth"))
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ([123.675, 116.28, 103.53], IMAGENET_STD))
    with torch.no_grad():
        return model({"images": image((384, 128)) * std + mean})


IMAGENET_STD = [58.395, 57.12, 57.375]


def test_hap_with_lem(tmp_path: Path, lem_file: dict[str, Tensor]) -> None:
    """[cls] after the norm and the module's 1536 numbers, from the patches before it."""
    before = naive_vit(lem_file, image((384, 128)), heads=12, normed=False)
    patches = before[:, 1:].mT.unflatten(2, (24, 8))
    cls = naive_vit(lem_file, image((384, 128)), heads=12)[:, 0]
    got = feature_of_lem(tmp_path)
    assert got.shape == (1, 2304)
    assert spread(got[:, :768], cls) < TOLERANCE
    assert spread(got[:, 768:], naive_lem(lem_file, patches)) < TOLERANCE


def test_what_is_lost_without_lem_is_said(
    tmp_path: Path, lem_file: dict[str, Tensor], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("WARNING"):
        got = feature_of_lem(tmp_path, "MODEL.HEADS.NAME", "BNNeckHead")
    cls = naive_vit(lem_file, image((384, 128)), heads=12)[:, 0]
    assert spread(got, cls) < TOLERANCE
    said = "the locality module (lem) is left out: the feature is [cls] alone, 768 of 2304 numbers"
    assert said in caplog.text and "Set MODEL.HEADS.NAME LocalityHead to keep it" in caplog.text


def test_a_wrong_use_of_lem_is_refused(tmp_path: Path, lem_file: dict[str, Tensor]) -> None:
    half = ("MODEL.PIXEL_MEAN", [127.5] * 3, "MODEL.PIXEL_STD", [127.5] * 3)
    with pytest.raises(UserError, match=r"trained on pixels with mean \[123.675, 116.28, 103.53\]"):
        feature_of_lem(tmp_path, *half)
    plain = {k: v for k, v in lem_file.items() if not k.startswith(("conv_", "bn."))}
    torch.save({"model": plain}, tmp_path / "lem.pth")
    with pytest.raises(UserError, match="has no locality module"):
        feature_of_lem(tmp_path)


def test_names_and_shapes_of_hap_with_lem() -> None:
    state = meta(vit_shapes(768, 12, 193) | lem_shapes(768, 1041))
    shapes_agree("MSMT17/hap_vit_base_lem", state, "MODEL.HEADS.NUM_CLASSES", 1041)


@torch.no_grad()
def test_luperson_r50(tmp_path: Path) -> None:
    """A snapshot of MoCo; torchvision's ResNet-50, with FastReID's last stride and pooling."""
    torch.manual_seed(0)
    theirs = torchvision.models.resnet50(num_classes=1).eval()
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    state = {k: v for k, v in theirs.state_dict().items() if not k.startswith("fc.")}
    queries = {f"module.encoder_q.{key}": value for key, value in state.items()}
    keys = {f"module.encoder_k.{k}": torch.zeros_like(v) for k, v in state.items()}
    content = {
        "state_dict": {**keys, **queries, "module.queue": torch.ones(128, 4)},
        "epoch": 200,
    }
    torch.save(content, tmp_path / "lupws_r50.pth")
    options = ["MODEL.DEVICE", "cpu", "MODEL.BACKBONE.PRETRAIN_PATH", f"{tmp_path}/lupws_r50.pth"]
    cfg = load_config(CONFIGS / "Market1501/luperson_r50_mgn.yml", options)
    backbone = build_backbone(cfg).eval()
    theirs.layer4[0].conv2.stride = theirs.layer4[0].downsample[0].stride = (1, 1)
    theirs.maxpool = nn.MaxPool2d(3, 2, ceil_mode=True)
    expected = nn.Sequential(*list(theirs.children())[:-2])(image((128, 64)))
    assert spread(backbone(image((128, 64))), expected) < TOLERANCE


@torch.no_grad()
def test_mgn_of_luperson(tmp_path: Path) -> None:
    """A fine-tuned model under the names of 2020: its maps pass the norms before they are cut."""
    options = ["MODEL.DEVICE", "cpu", "MODEL.BACKBONE.PRETRAIN", False]
    options += ["MODEL.HEADS.NUM_CLASSES", 3]
    cfg = load_config(CONFIGS / "Market1501/luperson_r50_mgn.yml", options)
    model = build_model(cfg).eval()
    file = {f"module.{k}": v.clone() for k, v in model.state_dict().items()}
    for branch in ("b1", "b2", "b3"):  # what a training leaves there
        name = f"module.heads_extra_bn_{branch}"
        file[f"{name}.running_mean"].normal_()
        file[f"{name}.running_var"].uniform_(0.5, 1.5)
    heads = [key for key in file if key.endswith("_head.weight")]
    assert len(heads) == 8
    for key in heads:
        file[key.replace("_head.", "_head.classifier.")] = file.pop(key)
    pixels = {"pixel_mean": cfg.MODEL.PIXEL_MEAN, "pixel_std": cfg.MODEL.PIXEL_STD}
    file |= {f"module.{k}": torch.tensor(v).view(1, 3, 1, 1) for k, v in pixels.items()}
    path = str(tmp_path / "market.pth")
    torch.save({"model": file}, path)
    images = image((96, 32)) * 64 + 80
    Checkpointer(model).load(path)
    got = model({"images": images})
    mean, std = (torch.tensor(pixels[name]).view(3, 1, 1) for name in pixels)
    shared = model.backbone((images - mean) / std)
    features = []
    for branch, stripes in (("b1", 1), ("b2", 2), ("b3", 3)):
        x, name = getattr(model, branch)(shared), f"module.heads_extra_bn_{branch}"
        centred = x - file[f"{name}.running_mean"].view(-1, 1, 1)
        x = centred / (file[f"{name}.running_var"].view(-1, 1, 1) + 1e-5).sqrt()
        parts = [x, *(x.chunk(stripes, 2) if stripes > 1 else ())]
        names = [branch, *(f"{branch}{n}" for n in range(1, stripes + 1) if stripes > 1)]
        pairs = zip(names, parts, strict=True)
        features.append([getattr(model, f"{n}_head")(part) for n, part in pairs])
    whole = [first for first, *_ in features] + [x for _, *rest in features for x in rest]
    assert spread(got, torch.cat(whole, 1)) < TOLERANCE
    model.pixel_mean += 1
    with pytest.raises(UserError, match="was trained on pixels with mean"):
        Checkpointer(model).load(path)
    cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.DEVICE = "MGN", "meta"
    with torch.device("meta"), pytest.raises(UserError, match="META_ARCHITECTURE LUPersonMGN"):
        adapt_luperson(build_model(cfg), file, path)


def dinov3_shapes(depth: int) -> dict[str, tuple[int, ...]]:
    """Meta's names of ViT-B."""
    shapes = vit_shapes(768, depth, 1)
    del shapes["pos_embed"]
    shapes |= {"storage_tokens": (1, 4, 768), "mask_token": (1, 768)}
    for block in (f"blocks.{number}." for number in range(depth)):
        shapes |= {f"{block}ls1.gamma": (768,), f"{block}ls2.gamma": (768,)}
    return shapes


def test_dinov3(tmp_path: Path) -> None:
    """Meta's file: registers, layer scale, rotary positions on 16x8, biases that are zero."""
    state = random_state(dinov3_shapes(2))
    for number in range(2):
        bias = state[f"blocks.{number}.attn.qkv.bias"]
        bias[:768] = bias[-768:] = 0
        state[f"blocks.{number}.attn.qkv.bias_mask"] = torch.ones(3 * 768)
    state["rope_embed.periods"] = (100 ** (torch.arange(16) / 16)).bfloat16()
    blocks = ("MODEL.BACKBONE.NUM_BLOCKS", 2)
    got = cls_from_file("Market1501/dinov3_vit_base", state, tmp_path, *blocks)
    w = {**state, "reg_token": state["storage_tokens"]}
    w = {k: v for k, v in w.items() if not k.endswith("qkv.bias")}
    expected = naive_vit(w, image(), heads=12, eps=1e-5)[:, 0]
    assert spread(got, expected) < TOLERANCE
    state["blocks.0.attn.qkv.bias"][0] = 1  # which needs a model with such a bias
    assert "backbone.blocks.0.attn.q_bias" in recognise(state, "a file").state
    state["rope_embed.periods"] *= 4
    with pytest.raises(UserError, match="rotary positions of this DINOv3"):
        recognise(state, "a file")


def test_names_and_shapes_of_dinov3() -> None:
    state = {k: torch.zeros(1).expand(shape) for k, shape in dinov3_shapes(12).items()}
    cfg = load_config(CONFIGS / "MSMT17/dinov3_vit_base.yml", ["MODEL.DEVICE", "meta"])
    cfg.MODEL.BACKBONE.PRETRAIN = False
    with torch.device("meta"):
        own = {k: v.shape for k, v in build_backbone(cfg).state_dict().items()}
    given = {k.removeprefix("backbone."): v.shape for k, v in recognise(state, "").state.items()}
    assert given == own


def test_dinov2(tmp_path: Path) -> None:
    """Meta's file with registers: positions of 37x37 on 18x9, those of [cls] added to it."""
    shapes = {**vit_shapes(768, 1, 1370, patch=14), "register_tokens": (1, 4, 768)}
    shapes |= {"blocks.0.ls1.gamma": (768,), "blocks.0.ls2.gamma": (768,)}
    state = random_state({**shapes, "mask_token": (1, 768)})
    blocks = ("MODEL.BACKBONE.NUM_BLOCKS", 1)
    got = cls_from_file("Market1501/dinov2_vit_base", state, tmp_path, *blocks)
    table = state["pos_embed"][:, 1:].view(1, 37, 37, 768).movedim(3, 1)
    resized = nn.functional.interpolate(table, (18, 9), mode="bilinear").movedim(1, 3)
    w = {**state, "cls_token": state["cls_token"] + state["pos_embed"][:, :1]}
    w |= {"pos_embed": resized.flatten(1, 2), "reg_token": state["register_tokens"]}
    expected = naive_vit(w, image((252, 126)), heads=12, stride=14)[:, 0]
    assert spread(got, expected) < TOLERANCE


def test_jpm_is_refused_where_positions_are_rotations() -> None:
    options = ["MODEL.DEVICE", "cpu", "MODEL.BACKBONE.PRETRAIN", False]
    options += ["MODEL.BACKBONE.NUM_BLOCKS", 1, "MODEL.HEADS.NAME", "JPMHead"]
    cfg = load_config(CONFIGS / "Market1501/dinov3_vit_base.yml", options)
    with pytest.raises(UserError, match="rearranges patches"):
        build_model(cfg)
