"""What a stage is: commands that a user could type, what they read, and what they make."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from fastreid.config import CfgNode
from fastreid_compat.repairs.config.settings import resolve_device
from reid_common.errors import UserError
from reid_core.config import load_config


@dataclass
class Stage:
    """One step of a pipeline: recorded, skipped when done, resumed when interrupted.

    Attributes:
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

    name: str
    title: str
    commands: list[list[str]]
    settings: dict[str, Any]
    inputs: dict[str, str]
    outputs: dict[str, str]
    cfg: CfgNode | None = None
    num_gpus: int = 1
    parts: list[dict[str, str]] = field(default_factory=list)
    trains: ClassVar[bool] = False

    @property
    def model_cfg(self) -> CfgNode:
        """``cfg`` of a stage that has a model."""
        assert self.cfg is not None
        return self.cfg

    @property
    def folders(self) -> list[str]:
        """Folders that it writes into, relative to OUTPUT_DIR, as messages name them."""
        return [*dict.fromkeys(f"{path.partition('/')[0]}/" for path in self.outputs.values())]

    @contextlib.contextmanager
    def named(self) -> Iterator[None]:
        """Say which stage an error belongs to."""
        try:
            yield
        except UserError as error:
            raise UserError(f"stage {self.name}: {error}") from error

    def check(self) -> None:
        """Check what can be checked before anything runs.

        Raises:
            UserError: what is wrong, with the stage's name.
        """

    def collect(self, folder: Path) -> None:
        """Gather what its commands have left in ``folder``, the pipeline's, into its outputs."""

    def machine(self) -> str:
        """Where it works, for people."""
        device = "cpu" if self.cfg is None else resolve_device(self.cfg)
        if device.startswith("cuda"):
            return f"{self.num_gpus} x {torch.cuda.get_device_name()}"
        return f"{device}, {torch.get_num_threads()} threads"

    def sizes(self, folder: Path) -> dict[str, int]:
        """How much it has worked on: images, identities, epochs, iterations, ..."""
        raise NotImplementedError


def tools_folder() -> Path:
    """Folder of this repository's command lines."""
    return Path(__file__).resolve().parents[5] / "tools"


def tool(name: str) -> str:
    """Path of a tool as a user would write it here."""
    path = tools_folder() / name
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def find_config(path: str) -> str:
    """Path of a stage's config: as given, else in this repository.

    Raises:
        UserError: there is none.
    """
    repository = tools_folder().parent
    for found in (Path(path), repository / path):
        if found.is_file():
            return str(found)
    raise UserError(f"there is no config file {path!r}, nor in {str(repository)!r}")


def is_dino(cfg: CfgNode) -> bool:
    """Whether a config pre-trains without labels."""
    return cfg.MODEL.META_ARCHITECTURE == "DINO"


def read_config(config: str, options: Sequence[str], stage: str) -> CfgNode:
    """FastReID config of a stage, as tools/train_net.py reads it.

    Raises:
        UserError: what is wrong, with the stage's name.
    """
    try:
        return load_config(find_config(config), options)
    except UserError as error:
        raise UserError(f"stage {stage}: {error}") from error
