"""Stages of a pipeline: trainings and evaluations as command lines that can be run by hand."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dinopretrain.engine.trainer import TEACHER_FILE
from fastreid.config import CfgNode
from reid_common.errors import UserError
from reid_core.config import load_config

from .settings import training_inputs, training_settings

TOOLS = Path(__file__).resolve().parents[4] / "tools"
RESULTS = "results.json"
RERANKING = "re-ranking"


@dataclass
class Stage:
    """One step that is recorded, skipped when done, and gone on with when cut.

    Attributes:
        name: of its record, and of a training's folder.
        title: what it is.
        commands: argument lists.
        settings: what its result depends on, besides the content of ``inputs``.
        inputs: files it reads besides images: what for -> path.
        outputs: what it makes: what -> path relative to OUTPUT_DIR.
        cfg: FastReID config of a training, else of the model that works; None: none does.
        trains: whether it is a training.
        num_gpus: processes.
        parts: of an evaluation, see :func:`evaluation_stage`.
    """

    name: str
    title: str
    commands: list[list[str]]
    settings: dict[str, Any]
    inputs: dict[str, str]
    outputs: dict[str, str]
    cfg: CfgNode | None = None
    trains: bool = False
    num_gpus: int = 1
    parts: list[dict[str, str]] = field(default_factory=list)


def tool(name: str) -> str:
    """Path of a tool as a user would write it here."""
    path = TOOLS / name
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def find_config(path: str) -> str:
    """Path of a stage's config: as given, else in this repository.

    Raises:
        UserError: there is none.
    """
    for found in (Path(path), TOOLS.parent / path):
        if found.is_file():
            return str(found)
    raise UserError(f"there is no config file {path!r}, nor in {str(TOOLS.parent)!r}")


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


def training_stage(
    folder: Path,
    name: str,
    title: str,
    config: str,
    options: Sequence[Any],
    num_gpus: int = 1,
) -> Stage:
    """A training by tools/train_net.py in ``folder/name``.

    Args:
        folder: OUTPUT_DIR of the pipeline.
        name: of the stage.
        title: what it is.
        config: FastReID config file.
        options: KEY VALUE pairs for it.
        num_gpus: processes.

    Raises:
        UserError: no such file, or a key or value that is wrong.
    """
    options = [*map(str, options), "OUTPUT_DIR", str(folder / name)]
    cfg = read_config(config, options, name)
    launch = ["--num-gpus", str(num_gpus)] if num_gpus > 1 else []
    line = ["--config-file", find_config(config), *launch, "--resume", *options]
    weights = TEACHER_FILE if is_dino(cfg) else "model_final.pth"
    made = {"weights": weights, "model": "model_final.pth", "config": "config.yaml"}
    return Stage(
        name=name,
        title=title,
        commands=[[sys.executable, tool("train_net.py"), *line]],
        settings=training_settings(cfg, num_gpus, folder),
        inputs=training_inputs(cfg),
        outputs={what: f"{name}/{file}" for what, file in made.items()},
        cfg=cfg,
        trains=True,
        num_gpus=num_gpus,
    )


def started_from(weights: Path) -> list[str]:
    """Options that start a training from the backbone that another one has made."""
    return ["MODEL.BACKBONE.PRETRAIN", "True", "MODEL.BACKBONE.PRETRAIN_PATH", str(weights)]


def only_listed(cfg: CfgNode, file: str) -> list[str]:
    """Options that train on the images that a list names, after the config's own filters."""
    own = [dict(entry) for entry in cfg.DATASETS.FILTERS]
    return ["DATASETS.FILTERS", repr([*own, {"NAME": "ListFilter", "LIST": file}])]


def evaluation_stage(
    folder: Path,
    name: str,
    models: Mapping[str, str],
    tests: Sequence[str],
    rerank: bool = False,
    options: Sequence[Any] = (),
    num_gpus: int = 1,
    cfg: CfgNode | None = None,
) -> Stage:
    """Evaluation of trained models by tools/train_net.py, collected in ``folder/name``.

    Args:
        folder: OUTPUT_DIR of the pipeline.
        name: of the stage.
        models: name of a training stage -> title in the results.
        tests: test sets.
        rerank: evaluate with re-ranking as well.
        options: KEY VALUE pairs.
        num_gpus: processes.
        cfg: of a model; None: as its training has left it.
    """
    launch = ["--num-gpus", str(num_gpus)] if num_gpus > 1 else []
    variants = ["", RERANKING] if rerank else [""]
    commands, parts, inputs = [], [], {}
    for model, title in models.items():
        weights = folder / model / "model_final.pth"
        inputs[model] = str(weights)
        for variant in variants:
            out = os.path.join(name, f"{model}-{variant}" if variant else model)
            pairs = ["MODEL.WEIGHTS", str(weights), "DATASETS.TESTS", repr(tuple(tests))]
            pairs += [*map(str, options), "TEST.RERANK.ENABLED", str(bool(variant))]
            pairs += ["OUTPUT_DIR", str(folder / out)]
            line = ["--eval-only", "--config-file", str(folder / model / "config.yaml"), *launch]
            commands.append([sys.executable, tool("train_net.py"), *line, *pairs])
            parts.append({"model": model, "title": title, "variant": variant, "folder": out})
    settings = {"models": dict(models), "tests": [*tests], "rerank": rerank}
    return Stage(
        name=name,
        title="evaluation",
        commands=commands,
        settings={**settings, "options": [*map(str, options)]},
        inputs=inputs,
        outputs={"results": f"{name}/{RESULTS}"},
        cfg=cfg or read_config(str(folder / next(iter(models)) / "config.yaml"), (), name),
        parts=parts,
        num_gpus=num_gpus,
    )
