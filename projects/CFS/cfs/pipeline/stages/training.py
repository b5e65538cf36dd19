"""A stage that trains: its command, what its result depends on, its checks, its sizes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from dinopretrain.data.loader import open_images
from dinopretrain.engine.trainer import check_dino_config
from dinopretrain.methods import backbone_file, is_pretraining
from fastreid.config import CfgNode
from reid_common.errors import UserError
from reid_common.files import read_json
from reid_core.config import find_config
from reid_core.data.filter_hook import has_filters
from reid_core.data.opened_sets import opened_set
from reid_core.run.preflight import preflight
from transreid import resolve_side_information

from .settings import training_inputs, training_settings
from .stage import Stage, command_line, errors_of, read_config

FILTER_SUMMARY = "filters_summary.json"


class TrainingStage(Stage):
    """See :func:`training_stage`."""

    trains: ClassVar[bool] = True

    def check(self) -> None:
        """Check the config, the data sets and the images, as far as earlier stages have run."""
        cfg = self._cfg_of_what_exists()
        with errors_of(self.name):
            preflight(cfg, world_size=self.num_gpus)
            if is_pretraining(cfg):
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
        cfg = self.cfg.clone()
        cfg.OUTPUT_DIR = ""  # a check makes none
        missing = [key for key, path in self.inputs.items() if not Path(path).exists()]
        if "MODEL.BACKBONE.PRETRAIN_PATH" in missing:
            cfg.MODEL.BACKBONE.PRETRAIN = False
        cfg.DATASETS.FILTERS = [
            entry
            for number, entry in enumerate(cfg.DATASETS.FILTERS)
            if not any(key.startswith(f"DATASETS.FILTERS[{number}].") for key in missing)
        ]
        return cfg

    def sizes(self, most: int | None = None) -> dict[str, int]:
        """Images after filters (at most ``most`` if they have not run), identities, epochs, ..."""
        cfg, size = self.cfg, training_size(self.cfg)
        summary = self.folder / self.name / FILTER_SUMMARY
        if has_filters(cfg) and summary.is_file():
            size["images"] = read_json(summary)["kept"]
        elif most is not None:
            size["images"] = min(size["images"], most)
        iterations = size["images"] // cfg.SOLVER.IMS_PER_BATCH * cfg.SOLVER.MAX_EPOCH
        return {**size, "epochs": cfg.SOLVER.MAX_EPOCH, "iterations": iterations}


def training_stage(
    folder: Path, name: str, title: str, config: str, options: Sequence[Any], num_gpus: int = 1
) -> TrainingStage:
    """A training in ``folder/name``; ``folder`` is OUTPUT_DIR of the pipeline.

    Args:
        config: FastReID config file.
        options: KEY VALUE pairs for it.
        num_gpus: processes.

    Raises:
        UserError: no such file, or a key or value that is wrong.
    """
    options = [*map(str, options), "OUTPUT_DIR", str(folder / name)]
    cfg = read_config(config, options, name)
    launch = ["--num-gpus", num_gpus] if num_gpus > 1 else []
    line = ["--config-file", find_config(config), *launch, "--resume", *options]
    weights = backbone_file(cfg) if is_pretraining(cfg) else "model_final.pth"
    made = {"weights": weights, "model": "model_final.pth", "config": "config.yaml"}
    return TrainingStage(
        folder=folder,
        name=name,
        title=title,
        commands=[command_line("train", *line)],
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
    """Images, and for labelled data identities, of DATASETS.NAMES before filters."""
    if is_pretraining(cfg):
        return {"images": sum(len(open_images(cfg, name)) for name in cfg.DATASETS.NAMES)}
    combine = bool(cfg.DATASETS.COMBINEALL)
    sets = [opened_set(name, combineall=combine).train for name in cfg.DATASETS.NAMES]
    identities = {identity for train in sets for identity in train.identities}  # named by set
    return {"images": sum(map(len, sets)), "identities": len(identities)}
