"""A pipeline whose stages take seconds: two-block ViTs for 32x16, 24 images of noise, 4 persons."""

from __future__ import annotations

from pathlib import Path

import yaml
from fastreid.config import CfgNode
from small_dino import NUM_IMAGES, small_dino_cfg, write_noise
from synthetic import write_market

KEPT = NUM_IMAGES // 2


def write_data(root: Path) -> None:
    """Write the pool ``root/pool`` and Market-1501."""
    write_noise(root / "pool")
    write_market(root, size=(32, 16))


def dino_cfg() -> CfgNode:
    """DINO on the pool."""
    cfg = small_dino_cfg(Path("pool"), Path("unused"))
    cfg.SEED = -1
    return cfg


def transreid_cfg() -> CfgNode:
    """The same ViT on Market-1501, with labels."""
    cfg = dino_cfg()
    cfg.MODEL.META_ARCHITECTURE = "TransReID"
    cfg.MODEL.HEADS.NAME = "BNNeckHead"
    cfg.MODEL.LOSSES.NAME = ("CrossEntropyLoss", "TripletLoss")
    cfg.MODEL.PIXEL_MEAN = cfg.MODEL.PIXEL_STD = [127.5, 127.5, 127.5]
    cfg.DATASETS.NAMES = cfg.DATASETS.TESTS = ("Market1501",)
    cfg.DATALOADER.SAMPLER_TRAIN = "NaiveIdentitySampler"
    cfg.DATALOADER.NUM_INSTANCE = 2
    cfg.SOLVER.IMS_PER_BATCH = 8
    cfg.SOLVER.BASE_LR = 5e-4
    cfg.SOLVER.MAX_EPOCH = 2
    cfg.SOLVER.WARMUP_EPOCHS = 0
    cfg.TEST.EVAL_PERIOD = 0
    cfg.TEST.IMS_PER_BATCH = 8
    return cfg


def write_pipeline(folder: Path, **changes: object) -> Path:
    """Write the configs and the pipeline's file, which is returned.

    Args:
        folder: where to.
        **changes: keys of the pipeline.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stages = {"dino": dino_cfg(), "transreid": transreid_cfg()}
    for name, cfg in stages.items():
        (folder / f"{name}.yml").write_text(cfg.dump())
    of_stage = dict(SOURCE="dino", TARGET="transreid", PRETRAIN="dino", FINETUNE="transreid")
    content: dict[str, object] = {
        "OUTPUT_DIR": str(folder / "out"),
        "KEEP": 0.5,
        "SCORE": {"BATCH_SIZE": 4, "SHARD_SIZE": 8},
        **{key: {"CONFIG": str(folder / f"{name}.yml")} for key, name in of_stage.items()},
        **changes,
    }
    path = folder / "pipeline.yml"
    path.write_text(yaml.safe_dump(content))
    return path
