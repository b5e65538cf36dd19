"""The learning rate of TransReID's recipe: a cosine over all epochs, with a linear warm-up on it.

Source: He et al., "TransReID", ICCV 2021, section 4.1, and the released code, which calls timm's
CosineLRScheduler. The warm-up takes the place of the cosine's first epochs, it does not delay it;
the rate after it is below the base rate. FastReID's CosineAnnealingLR waits for the warm-up and
then falls over what is left of the run.
"""

from __future__ import annotations

import math
from typing import Any

from fastreid.config import CfgNode, configurable
from fastreid_compat.repairs.training.schedules import SCHEDULE_REGISTRY
from reid_common.errors import UserError
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler


def warmup_cosine(
    epoch: float,
    base_lr: float,
    *,
    max_epoch: float,
    warmup_epochs: float,
    warmup_lr: float,
    min_lr: float,
) -> float:
    """Learning rate of an epoch.

    Args:
        epoch: 1-based; from ``max_epoch`` on the rate is ``min_lr``.
        base_lr: where the cosine starts, at epoch 0, and the warm-up would end.
        max_epoch: length of the cosine, warm-up included.
        warmup_epochs: the rate is linear in the epoch before this one.
        warmup_lr: where the warm-up starts, at epoch 0.
        min_lr: where the cosine ends.
    """
    if epoch < warmup_epochs:
        return warmup_lr + (base_lr - warmup_lr) * epoch / warmup_epochs
    progress = min(epoch / max_epoch, 1.0)
    return min_lr + 0.5 * (base_lr - min_lr) * (1.0 + math.cos(math.pi * progress))


@SCHEDULE_REGISTRY.register()
class WarmupCosineLR(LRScheduler):
    """:func:`warmup_cosine` for every parameter group; SOLVER.SCHED: WarmupCosineLR.

    Stepped after each epoch, as FastReID's trainer does; epoch e of 1..max_epoch trains with the
    rate of e. Groups differ in their base rate (biases have twice that of the rest) but start the
    warm-up from, and end at, the same rates, as in the released code. With SOLVER.LAYER_DECAY base
    rates differ by orders of magnitude, and each group has the same shares of its own.

    Args:
        optimizer: its groups' present rates are their base rates.
        max_epoch: see :func:`warmup_cosine`.
        warmup_epochs: likewise; 5 as released, 20 for the weights of TransReID-SSL.
        warmup_lr: likewise.
        min_lr: likewise.
        base_lr: base rate that ``warmup_lr`` and ``min_lr`` belong to, those of other groups being
            in proportion; 0: they are those of all groups.

    Raises:
        UserError: the warm-up is negative or longer than the run.
    """

    @configurable
    def __init__(
        self,
        optimizer: Optimizer,
        *,
        max_epoch: int,
        warmup_epochs: int,
        warmup_lr: float,
        min_lr: float,
        base_lr: float = 0.0,
    ) -> None:
        if max_epoch < 1 or not 0 <= warmup_epochs < max_epoch:
            raise UserError(
                f"SOLVER.WARMUP_EPOCHS is {warmup_epochs}, which must be at least 0 and less than "
                f"SOLVER.MAX_EPOCH, {max_epoch}; change one of them"
            )
        self._epochs = {"max_epoch": max_epoch, "warmup_epochs": warmup_epochs}
        self._ends = {"warmup_lr": warmup_lr, "min_lr": min_lr}
        self._base_lr = base_lr
        super().__init__(optimizer)

    @classmethod
    def from_config(cls, cfg: CfgNode, optimizer: Optimizer) -> dict[str, Any]:
        """Constructor keywords from SOLVER; see add_transreid_config for its new keys.

        Raises:
            UserError: a key of FastReID's schedules is set that has no meaning here.
        """
        solver = cfg.SOLVER
        for key, wanted, instead in (
            ("WARMUP_ITERS", 0, "its warm-up is SOLVER.WARMUP_EPOCHS"),
            ("DELAY_EPOCHS", 0, "its cosine starts with the run"),
            ("WARMUP_METHOD", "linear", "its warm-up is linear"),
        ):
            if solver[key] != wanted:
                raise UserError(
                    f"SOLVER.{key} is {solver[key]!r}, which SOLVER.SCHED WarmupCosineLR cannot "
                    f"follow: {instead}; set SOLVER.{key} {wanted}"
                )
        return {
            "optimizer": optimizer,
            "max_epoch": solver.MAX_EPOCH,
            "warmup_epochs": solver.WARMUP_EPOCHS,
            "warmup_lr": solver.WARMUP_FACTOR * solver.BASE_LR,
            "min_lr": solver.ETA_MIN_FACTOR * solver.BASE_LR,
            "base_lr": solver.BASE_LR if solver.get("LAYER_DECAY", 1.0) != 1 else 0.0,
        }

    def get_lr(self) -> list[float | Tensor]:
        """Rates of all groups in the epoch ``last_epoch`` + 1."""
        return [self._rate(self.last_epoch + 1, float(base)) for base in self.base_lrs]

    def _rate(self, epoch: int, base: float) -> float:
        share = base / self._base_lr if self._base_lr else 1.0
        ends = {name: share * rate for name, rate in self._ends.items()}
        return warmup_cosine(epoch, base, **self._epochs, **ends)

    def state_dict(self) -> dict[str, Any]:
        """Just the epoch: all else follows from the config."""
        return {"last_epoch": self.last_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue at the stored epoch, with the rates that this run's config gives it."""
        self.last_epoch = state_dict["last_epoch"]
        self._step_count = self.last_epoch + 1  # with which torch tells the first step
        self._last_lr = self.get_lr()
        for group, lr in zip(self.optimizer.param_groups, self._last_lr, strict=True):
            group["lr"] = lr
