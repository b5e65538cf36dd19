"""A tiny TransReID model as files, and a folder of images as users have them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from fastreid.config import CfgNode
from fastreid.modeling.meta_arch import build_model
from PIL import Image
from reid_core.config import load_config

DIM = 192
PARTS = 2


def small_cfg(**options: object) -> CfgNode:
    """Two-block vit_tiny with JPM of 2 parts and SIE of 3 cameras at 64x32; names no data set.

    Args:
        **options: config keys with __ for dots, as in TEST__FLIP__ENABLED=True.
    """
    cfg = load_config()
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.META_ARCHITECTURE = "TransReID"
    cfg.MODEL.BACKBONE.NAME = "build_transreid_backbone"
    cfg.MODEL.BACKBONE.TIMM_NAME = "vit_tiny_patch16_224"
    cfg.MODEL.BACKBONE.NUM_BLOCKS = 2
    cfg.MODEL.BACKBONE.FEAT_DIM = DIM
    cfg.MODEL.BACKBONE.STRIDE_SIZE = [16, 16]
    cfg.MODEL.BACKBONE.PRETRAIN = False
    cfg.MODEL.HEADS.NAME = "JPMHead"
    cfg.MODEL.JPM.NUM_PARTS = PARTS
    cfg.MODEL.SIE.CAMERA = True
    cfg.INPUT.SIZE_TRAIN = cfg.INPUT.SIZE_TEST = [64, 32]
    for key, value in options.items():
        cfg.merge_from_list([key.replace("__", "."), str(value)])
    return cfg


def write_model(folder: Path, cfg: CfgNode, num_cameras: int = 3, num_views: int = 2) -> str:
    """Save random weights for ``cfg`` with a classifier of 5 identities; returns the path."""
    cfg = cfg.clone()
    cfg.MODEL.SIE.NUM_CAMERAS, cfg.MODEL.SIE.NUM_VIEWS = num_cameras, num_views
    cfg.MODEL.HEADS.NUM_CLASSES = 5
    torch.manual_seed(0)
    model = build_model(cfg)
    for parameter in model.parameters():  # timm starts some at 0, which would hide faults
        torch.nn.init.trunc_normal_(parameter, std=0.1)
    path = folder / "model.pth"
    torch.save({"model": model.state_dict()}, path)
    return str(path)


def write_config(folder: Path, cfg: CfgNode) -> str:
    """Save a config as YAML; returns the path."""
    path = folder / "config.yaml"
    path.write_text(cfg.dump())
    return str(path)


def picture(seed: int, size: tuple[int, int] = (64, 32)) -> np.ndarray:
    """Coloured noise (H, W, 3) uint8."""
    return np.random.default_rng(seed).integers(0, 256, (*size, 3)).astype(np.uint8)


def write_odd_images(folder: Path) -> dict[str, Path]:
    """Write images of odd sizes and modes into ``folder`` and a folder below; name -> file."""
    (folder / "more").mkdir(parents=True, exist_ok=True)
    images = {
        "png": ("a.png", Image.fromarray(picture(1, (70, 41))), {}),
        "jpeg": ("b.JPG", Image.fromarray(picture(2, (33, 90))), {"quality": 95}),
        "grey": ("c.png", Image.fromarray(picture(3)[:, :, 0]), {}),
        "rgba": ("d.png", Image.fromarray(np.dstack([picture(4), picture(5)[:, :, :1]])), {}),
        "palette": ("e.png", Image.fromarray(picture(6)).convert("P"), {}),
        "sixteen": ("f.png", Image.fromarray(picture(7)[:, :, 0].astype(np.uint16) * 257), {}),
        "tiny": ("more/g.bmp", Image.fromarray(picture(8, (3, 2))), {}),
    }
    files = {}
    for name, (file, image, options) in images.items():
        files[name] = folder / file
        image.save(files[name], **options)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to see it upright
    files["turned"] = folder / "more" / "h.png"
    Image.fromarray(picture(9, (40, 80))).save(files["turned"], exif=exif)
    return files


def write_bad_images(folder: Path) -> dict[str, Path]:
    """Write files that only look like images; kind -> file."""
    folder.mkdir(parents=True, exist_ok=True)
    whole = folder / "whole.jpg"
    Image.fromarray(picture(10, (200, 100))).save(whole)
    files = {kind: folder / f"bad_{kind}.jpg" for kind in ("truncated", "empty", "text")}
    files["truncated"].write_bytes(whole.read_bytes()[:2000])
    files["empty"].write_bytes(b"")
    files["text"].write_text("no image")
    whole.unlink()
    return files
