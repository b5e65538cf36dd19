"""What a stage is: commands that a user could type, what they read, and what they make."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from fastreid.config import CfgNode
from fastreid_compat.repairs.config.settings import resolve_device
from reid_common.errors import UserError
from reid_core.config import find_config, load_config


@dataclass
class Stage:
    """One step of a pipeline: recorded, skipped when done, resumed when interrupted.

    Attributes:
        folder: OUTPUT_DIR of the pipeline.
        name: of its record, and of a training's folder.
        title: what it is.
        commands: argument lists.
        settings: what its result depends on, besides the content of ``inputs``.
        inputs: files it reads besides images: what for -> path.
        outputs: what it makes: what -> path relative to OUTPUT_DIR.
        cfg: FastReID config of a training, else of the model that works; None: none does.
        num_gpus: processes.
        parts: of an evaluation: model, title, variant and folder of each command's results.
        trains: whether it is a training.
    """

    folder: Path
    name: str
    title: str
    commands: list[list[str]]
    settings: dict[str, Any]
    inputs: dict[str, str]
    outputs: dict[str, str]
    cfg: Any = None
    num_gpus: int = 1
    parts: list[dict[str, str]] = field(default_factory=list)
    trains: ClassVar[bool] = False

    def check(self) -> None:
        """Check what can be checked before anything runs; a UserError names the stage."""

    def collect(self) -> None:
        """Gather what its commands have left into its outputs."""

    def machine(self) -> str:
        """Where it works, for people."""
        device = "cpu" if self.cfg is None else resolve_device(self.cfg)
        if device.startswith("cuda"):
            return f"{self.num_gpus} x {torch.cuda.get_device_name()}"
        return f"{device}, {torch.get_num_threads()} threads"

    def sizes(self) -> dict[str, int]:
        """How much it has worked on: images, identities, epochs, iterations, ..."""
        raise NotImplementedError


@contextlib.contextmanager
def errors_of(stage: str) -> Iterator[None]:
    """Have a UserError name the stage that it belongs to."""
    try:
        yield
    except UserError as error:
        raise UserError(f"stage {stage}: {error}") from error


def command_line(command: str, *words: object, num_gpus: int = 1) -> list[str]:
    """Argument list of ``transreid COMMAND ...``; by torchrun where there are several GPUs."""
    run = [sys.executable]
    if num_gpus > 1:
        run += ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(num_gpus)]
    return [*run, "-m", "reid_commands", command, *map(str, words)]


def read_config(config: str, options: Sequence[str], stage: str) -> CfgNode:
    """FastReID config of a stage, as training reads it; a UserError names the stage."""
    with errors_of(stage):
        return load_config(find_config(config), options)
