"""A pre-training that studies start fine-tuning from: run once, resumed if interrupted, timed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from cfs.pipeline.stages.training import started_from
from dinopretrain.methods import backbone_file
from reid_common.files import read_json, write_json
from reid_core.config import find_config, load_config
from reid_core.run.command_line import forget_loggers
from transreid import training

DONE = "pretraining.json"


def pretrain(config: str, folder: Path, pairs: Sequence[str]) -> list[str]:
    """Pre-train into a folder, unless an earlier call has.

    Args:
        config: config file of the pre-training.
        folder: its OUTPUT_DIR.
        pairs: KEY VALUE pairs.

    Returns:
        The pairs that start a training from the backbone it has made.
    """
    if not (folder / DONE).exists():
        forget_loggers()
        resumed = (folder / "last_checkpoint").exists()
        start = time.perf_counter()
        opts = [*pairs, "OUTPUT_DIR", str(folder)]
        training.train_or_evaluate(training.arguments(find_config(config), opts, resume=True))
        seconds = None if resumed else round(time.perf_counter() - start)
        write_json(folder / DONE, {"seconds": seconds, "opts": list(pairs)})
    return started_from(folder / backbone_file(load_config(find_config(config))))


def seconds_of(folder: Path) -> int | None:
    """How long a pre-training took; None if it was interrupted."""
    return read_json(folder / DONE)["seconds"]
