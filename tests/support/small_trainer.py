"""A DefaultTrainer whose model and data are so small that an epoch takes milliseconds."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import torch
from fastreid.config import CfgNode, get_cfg
from fastreid.engine import DefaultTrainer
from fastreid.engine.train_loop import HookBase
from torch import nn

NUM_IMAGES = 12
ITERS_PER_EPOCH = 3


def small_cfg(folder: Path) -> CfgNode:
    """Config for :class:`SmallTrainer`: 4 images a batch, 3 epochs, all files under ``folder``."""
    cfg = get_cfg()
    cfg.MODEL.DEVICE = "cpu"
    cfg.SOLVER.IMS_PER_BATCH = 4
    cfg.SOLVER.MAX_EPOCH = 3
    cfg.SOLVER.WARMUP_ITERS = 0
    cfg.SOLVER.BASE_LR = 0.01
    cfg.SOLVER.CHECKPOINT_PERIOD = 1
    cfg.TEST.EVAL_PERIOD = 1
    cfg.OUTPUT_DIR = str(folder)
    return cfg


class SmallModel(nn.Module):
    """Linear layer, batch norm, dropout and a classifier, with FastReID's keys for their parts."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.3))
        self.heads = nn.Linear(8, num_classes)

    def forward(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        logits = self.heads(self.backbone(batch["images"]))
        targets = batch["targets"].clamp(min=0)
        return {"loss_cls": nn.functional.cross_entropy(logits, targets)}


class SmallLoader:
    """Endless stream of the same few batches of noise, made anew by each iteration."""

    dataset: object

    def __init__(self, num_images: int = NUM_IMAGES) -> None:
        self.dataset = type("D", (SimpleNamespace,), {"__len__": lambda self: num_images})(
            num_classes=5
        )

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        noise = torch.Generator().manual_seed(7)
        while True:
            yield {
                "images": torch.randn(4, 6, generator=noise),
                "targets": torch.randint(0, 5, (4,), generator=noise),
            }


class SmallTrainer(DefaultTrainer):
    """Trains SmallModel; ``scores`` are the results of its evaluations, one after the other."""

    scores: tuple[float, ...] = (10.0, 20.0, 30.0, 40.0)
    num_evaluations = 0

    def __init__(self, cfg: CfgNode) -> None:
        Path(cfg.OUTPUT_DIR).mkdir(parents=True, exist_ok=True)
        type(self).num_evaluations = 0
        super().__init__(cfg)

    @classmethod
    def build_model(cls, cfg: CfgNode) -> nn.Module:
        return SmallModel(cfg.MODEL.HEADS.NUM_CLASSES)

    @classmethod
    def build_train_loader(cls, cfg: CfgNode) -> SmallLoader:
        return SmallLoader()

    @classmethod
    def test(cls, cfg: CfgNode, model: nn.Module) -> OrderedDict:
        score = cls.scores[cls.num_evaluations]
        cls.num_evaluations += 1
        return OrderedDict(mAP=score, metric=score)


class Killed(Exception):
    """What :class:`KillAt` raises."""


class KillAt(HookBase):
    """Ends the training before the step ``iteration`` (0-based, over all epochs)."""

    def __init__(self, iteration: int, error: type[BaseException] = Killed) -> None:
        self.iteration = iteration
        self.error = error

    def before_step(self) -> None:
        if self.trainer.iter == self.iteration:
            raise self.error("killed")


def weights(trainer: DefaultTrainer) -> dict[str, torch.Tensor]:
    """Copies of all parameters and buffers of the trainer's model."""
    return {key: value.clone() for key, value in trainer.model.state_dict().items()}
