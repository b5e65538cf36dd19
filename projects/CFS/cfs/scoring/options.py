"""How scores are made, and which of several processes this is."""

from __future__ import annotations

import os
from dataclasses import dataclass

from fastreid.utils import comm
from reid_common.errors import UserError
from transreid.inference.extractor import PRECISIONS

SHARD_SIZE = 4096  # images a kill costs at most; of LUPerson there are 1,021 shards
BATCH_SIZE = 64


@dataclass(frozen=True)
class ScoringOptions:
    """How scores are made.

    Attributes:
        batch_size: images that go through the models at once; batches end at the shard's border.
        shard_size: images a shard.
        num_workers: processes that read images; 0 reads in this one.
        precision: "fp32", or "bf16" or "fp16" for the matrix products.
        device: torch device of both models.
        rank: number of this process, 0-based.
        world: processes that share the work.
    """

    batch_size: int = BATCH_SIZE
    shard_size: int = SHARD_SIZE
    num_workers: int = 0
    precision: str = "fp32"
    device: str = "cpu"
    rank: int = 0
    world: int = 1

    def __post_init__(self) -> None:
        if min(self.batch_size, self.shard_size) < 1 or self.num_workers < 0:
            raise UserError(
                f"batch_size is {self.batch_size}, shard_size {self.shard_size}, num_workers "
                f"{self.num_workers}; at least 1, 1 and 0"
            )
        if self.precision not in PRECISIONS:
            choices = ", ".join(PRECISIONS)
            raise UserError(f"precision is {self.precision!r}; choose one of {choices}")
        if not 0 <= self.rank < self.world:
            raise UserError(
                f"RANK is {self.rank}, WORLD_SIZE {self.world}; ranks are 0 to WORLD_SIZE - 1"
            )


def rank_and_world() -> tuple[int, int]:
    """Number of this process and of all: of the process group, else as torchrun's environment."""
    if comm.get_world_size() > 1:
        return comm.get_rank(), comm.get_world_size()
    try:
        return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    except ValueError as error:
        raise UserError(f"RANK and WORLD_SIZE must be whole numbers: {error}") from error
