"""A stage that trains: its command, what its result depends on, its checks, its sizes."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from dinopretrain.data.loader import open_images
from dinopretrain.engine.trainer import TEACHER_FILE, check_dino_config
from fastreid.config import CfgNode
from reid_common.errors import UserError
from reid_core.data.filter_hook import has_filters
from reid_core.data.opened_sets import opened_set
from reid_core.data.opening import data_root
from reid_core.run.preflight import preflight
from transreid import resolve_side_information

from .settings import training_inputs, training_settings
from .stage import Stage, find_config, is_dino, read_config, tool

FILTER_SUMMARY = "filters_summary.json"
_COUNTS: dict[tuple[str, str, bool], int] = {}  # millions of images are listed once


class TrainingStage(Stage):
    """See :func:`training_stage`."""

    trains: ClassVar[bool] = True

    def check(self) -> None:
        """Check the config, the data sets and the images, as far as earlier stages have run.

        Raises:
            UserError: with the stage's name.
        """
        cfg = self._cfg_of_what_exists()
        with self.named():
            preflight(cfg, world_size=self.num_gpus)
            if is_dino(cfg):
                check_dino_config(cfg)
            resolve_side_information(cfg)
            images = training_size(cfg)["images"]
            if images < cfg.SOLVER.IMS_PER_BATCH:
                raise UserError(
                    f"{', '.join(cfg.DATASETS.NAMES)}: {images} images are fewer than one batch, "
                    f"SOLVER.IMS_PER_BATCH = {cfg.SOLVER.IMS_PER_BATCH}; lower it"
                )

    def _cfg_of_what_exists(self) -> CfgNode:
        """The config without the files that earlier stages are still to make, and no folder."""
        cfg = self.model_cfg.clone()
        cfg.OUTPUT_DIR = ""  # a check makes none
        missing = {key for key, path in self.inputs.items() if not Path(path).exists()}
        if "MODEL.BACKBONE.PRETRAIN_PATH" in missing:
            cfg.MODEL.BACKBONE.PRETRAIN = False
        cfg.DATASETS.FILTERS = [
            entry
            for number, entry in enumerate(cfg.DATASETS.FILTERS)
            if not any(key.startswith(f"DATASETS.FILTERS[{number}].") for key in missing)
        ]
        return cfg

    def sizes(self, folder: Path, most: int | None = None) -> dict[str, int]:
        """Images after filters, identities, epochs and iterations.

        Args:
            folder: of the pipeline.
            most: images that filters will leave at most, where they have not run.
        """
        cfg = self.model_cfg
        size = training_size(cfg)
        summary = folder / self.name / FILTER_SUMMARY
        if has_filters(cfg) and summary.is_file():
            size["images"] = json.loads(summary.read_text())["kept"]
        elif most is not None:
            size["images"] = min(size["images"], most)
        iterations = size["images"] // cfg.SOLVER.IMS_PER_BATCH * cfg.SOLVER.MAX_EPOCH
        return {**size, "epochs": cfg.SOLVER.MAX_EPOCH, "iterations": iterations}


def training_stage(
    folder: Path,
    name: str,
    title: str,
    config: str,
    options: Sequence[Any],
    num_gpus: int = 1,
) -> TrainingStage:
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
    return TrainingStage(
        name=name,
        title=title,
        commands=[[sys.executable, tool("train_net.py"), *line]],
        settings=training_settings(cfg, num_gpus, folder),
        inputs=training_inputs(cfg),
        outputs={what: f"{name}/{file}" for what, file in made.items()},
        cfg=cfg,
        num_gpus=num_gpus,
    )


def started_from(weights: Path) -> list[str]:
    """Options that start a training from the backbone that another one has made."""
    return ["MODEL.BACKBONE.PRETRAIN", "True", "MODEL.BACKBONE.PRETRAIN_PATH", str(weights)]


def only_listed(cfg: CfgNode, file: str) -> list[str]:
    """Options that train on the images that a list names, after the config's own filters."""
    own = [dict(entry) for entry in cfg.DATASETS.FILTERS]
    return ["DATASETS.FILTERS", repr([*own, {"NAME": "ListFilter", "LIST": file}])]


def training_size(cfg: CfgNode) -> dict[str, int]:
    """Images, and for labelled data identities, of DATASETS.NAMES before filters.

    Raises:
        UserError: a data set cannot be opened.
    """
    if is_dino(cfg):
        return {"images": sum(_count(cfg, name) for name in cfg.DATASETS.NAMES)}
    images, identities = 0, set[object]()  # names that begin with the data set's
    for name in cfg.DATASETS.NAMES:
        train = opened_set(name, combineall=bool(cfg.DATASETS.COMBINEALL)).train
        images += len(train)
        identities.update(train.identities)
    return {"images": images, "identities": len(identities)}


def _count(cfg: CfgNode, name: str) -> int:
    """Images of a data set."""
    key = (data_root(), name, cfg.DATASETS.COMBINEALL)
    if key not in _COUNTS:
        _COUNTS[key] = len(open_images(cfg, name))
    return _COUNTS[key]
