"""Two tiny models as files, a folder of images, and a run that scores them."""

from __future__ import annotations

from pathlib import Path

import torch
from cfs.images.listing import open_listing
from cfs.scores.shards import ScoreShards
from cfs.scoring.models import build_pair
from cfs.scoring.options import ScoringOptions
from cfs.scoring.scoring import score_images
from fastreid.config import CfgNode
from fastreid.data import build as data_build
from fastreid.modeling.meta_arch import build_model
from PIL import Image
from reid_core.config import load_config
from small_inference import picture
from small_vit import use_small_vit

NUM_IMAGES = 11
SHARD, BATCH = 4, 2  # shards of 4, 4 and 3 images


def vit_cfg(**options: object) -> CfgNode:
    """A two-block vit_tiny for 64x32 with BNNeck, before which its feature at test time is.

    Args:
        **options: config keys with __ for dots.
    """
    cfg = load_config()
    cfg.MODEL.META_ARCHITECTURE = "TransReID"
    use_small_vit(cfg, stride=16)
    cfg.MODEL.HEADS.NAME = "BNNeckHead"
    cfg.INPUT.TRANSFORM = "TransReID"
    return _small(cfg, options)


def resnet_cfg(**options: object) -> CfgNode:
    """FastReID's ResNet-50 with BNNeck for 64x32."""
    cfg = load_config()
    cfg.MODEL.BACKBONE.DEPTH = "50x"
    cfg.MODEL.BACKBONE.FEAT_DIM = 2048
    cfg.MODEL.HEADS.WITH_BNNECK = True
    cfg.MODEL.HEADS.POOL_LAYER = "GeneralizedMeanPoolingP"
    return _small(cfg, options)


def _small(cfg: CfgNode, options: dict[str, object]) -> CfgNode:
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.BACKBONE.PRETRAIN = False
    cfg.MODEL.HEADS.NUM_CLASSES = 3
    cfg.INPUT.SIZE_TRAIN = cfg.INPUT.SIZE_TEST = [64, 32]
    cfg.merge_from_list(
        [str(x) for key, value in options.items() for x in (key.replace("__", "."), value)]
    )
    return cfg


def write_weights(path: Path, cfg: CfgNode, seed: int, moved: float = 0.0) -> str:
    """Save a model of random weights.

    Args:
        path: file.
        cfg: of the model.
        seed: of the weights.
        moved: standard deviation of what is added to each weight, as training would.
    """
    torch.manual_seed(seed)
    model = build_model(cfg)
    if any(isinstance(module, torch.nn.BatchNorm2d) for module in model.backbone.modules()):
        with torch.no_grad():
            for _ in range(20):  # statistics are taken up: without them all images look alike
                model.backbone(torch.randn(4, 3, *cfg.INPUT.SIZE_TEST))
    for parameter in model.parameters():
        parameter.data += moved * torch.randn_like(parameter)
    torch.save({"model": model.state_dict()}, path)
    return str(path)


def write_pool(folder: Path, count: int = NUM_IMAGES) -> Path:
    """Write PNG images of odd sizes into two folders below ``folder``, in the released layout."""
    for number in range(count):
        file = folder / "images" / f"scene{number % 2}" / f"{number:03d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(number, (50 + number, 30 - number))).save(file)
    return folder


def score(pool: Path, out: Path, cfg: CfgNode, source: str, target: str, **run: int) -> ScoreShards:
    """Score the images of a folder in small shards and batches."""
    images = open_listing(cfg, [f"ImageFolder:{pool}"])
    pair = build_pair(cfg, source, cfg, target)
    transform = data_build.build_transforms(cfg, is_train=False)
    settings = ScoringOptions(**{"batch_size": BATCH, "shard_size": SHARD, **run})
    return score_images(images, *pair, transform, out, settings, {"dataset": ["pool"]})


def content(folder: Path) -> dict[str, bytes]:
    """Name -> bytes of all files of a folder."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
