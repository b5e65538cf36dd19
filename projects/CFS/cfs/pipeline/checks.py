"""What is looked at before a pipeline begins, so that no misspelling ends it after days.

Every stage checks its own config when it starts. Here all of them are checked at once, as far as
that goes before earlier stages have made what later ones read.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from dinopretrain.engine.trainer import check_dino_config
from fastreid.config import CfgNode
from fastreid.modeling.backbones import build_backbone
from fastreid_compat.repairs.checkpoints.checkpoint_files import AtomicPathManager
from reid_common.errors import UserError
from reid_common.image_files import check_images
from reid_core.run.preflight import dataset_images
from reid_core.run.validation import check_dataset, check_weights, validate_config
from reid_core.side_information.label_files import check_side_information
from transreid import resolve_side_information

from ..scores.selection import number_kept
from .config import STAGES
from .earlier import check_earlier
from .records import FOLDER, read_record
from .settings import check_same_settings
from .sizes import training_size
from .space import check_space
from .stages import Stage, is_dino


def check_stages(
    stages: Sequence[Stage], chosen: Sequence[Stage], folder: Path, cfg: CfgNode
) -> None:
    """Check that the chosen stages can run, before the first one does.

    Args:
        stages: all of the pipeline.
        chosen: those to run, in order.
        folder: OUTPUT_DIR.
        cfg: of the pipeline.

    Raises:
        UserError: the first thing that is wrong, with the stage's name.
    """
    todo = check_records(stages, chosen, folder)
    by_name = {stage.name: stage for stage in stages}
    _check_pairs(by_name)
    for stage in todo:
        if stage.trains:
            check_training(stage)
    _check_selection(by_name, {stage.name for stage in todo}, cfg)
    for giving, taking in (("source", "target"), ("pretrain", "finetune")):
        if by_name[taking] in todo:
            _rehearse(by_name[giving], by_name[taking])
    for name in by_name["evaluate"].settings["tests"] if by_name["evaluate"] in todo else ():
        with _named(by_name["evaluate"]):
            check_dataset("EVALUATE.TESTS", name)
    check_space(todo, folder)


def check_records(stages: Sequence[Stage], chosen: Sequence[Stage], folder: Path) -> list[Stage]:
    """Check what earlier calls have left, and return those of the chosen stages that are not done.

    Args:
        stages: all that make and read files of one another.
        chosen: those to run, in order.
        folder: OUTPUT_DIR.

    Raises:
        UserError: one was begun with other settings, or with what is yet to be made; or a folder
            is of another run.
    """
    records = {stage.name: read_record(folder, stage.name) for stage in stages}
    todo = []
    for stage in chosen:
        record = records[stage.name]
        if record is None:
            check_unused(stage, folder)
        else:
            check_same_settings(record, stage.settings, folder)
        if record is None or not record.done:
            todo.append(stage)
    check_earlier(stages, chosen, todo, records, folder)
    return todo


def check_training(stage: Stage) -> None:
    """Check the config, the data sets and the images of a training.

    Raises:
        UserError: with the stage's name.
    """
    cfg = _without_what_is_not_there(stage)
    with _named(stage):
        validate_config(cfg, world_size=stage.num_gpus)
        if is_dino(cfg):
            check_dino_config(cfg)
        check_weights(cfg.MODEL.WEIGHTS)
        paths = dataset_images(cfg)
        check_side_information(cfg, paths)
        check_images(paths)
        resolve_side_information(cfg)
        images = training_size(cfg)["images"]
        if images < cfg.SOLVER.IMS_PER_BATCH:
            raise UserError(
                f"{', '.join(cfg.DATASETS.NAMES)}: {images} images are fewer than one batch, "
                f"SOLVER.IMS_PER_BATCH = {cfg.SOLVER.IMS_PER_BATCH}; lower it"
            )


def _without_what_is_not_there(stage: Stage) -> CfgNode:
    """Config of a stage without the files that earlier stages are still to make."""
    assert stage.cfg is not None
    cfg = stage.cfg.clone()
    missing = {key for key, path in stage.inputs.items() if not Path(path).exists()}
    if "MODEL.BACKBONE.PRETRAIN_PATH" in missing:
        cfg.MODEL.BACKBONE.PRETRAIN = False
    cfg.DATASETS.FILTERS = [
        entry
        for number, entry in enumerate(cfg.DATASETS.FILTERS)
        if not any(key.startswith(f"DATASETS.FILTERS[{number}].") for key in missing)
    ]
    return cfg


@contextlib.contextmanager
def _named(stage: Stage):
    """Say which stage an error belongs to."""
    try:
        yield
    except UserError as error:
        raise UserError(f"stage {stage.name}: {error}") from error


def _check_pairs(stages: dict[str, Stage]) -> None:
    """Check what stages have in common.

    Raises:
        UserError: they have not.
    """
    source, target, pretrain = (stages[n].cfg for n in ("source", "target", "pretrain"))
    assert source is not None and target is not None and pretrain is not None
    for name in ("source", "pretrain"):
        cfg = stages[name].cfg
        assert cfg is not None
        if not is_dino(cfg):
            raise UserError(
                f"stage {name}: MODEL.META_ARCHITECTURE is {cfg.MODEL.META_ARCHITECTURE!r}; it "
                f"pre-trains without labels: set {name.upper()}.CONFIG to a config of DINO"
            )
    sizes = [list(cfg.INPUT.SIZE_TEST) for cfg in (source, target)]
    if sizes[0] != sizes[1]:
        raise UserError(
            f"INPUT.SIZE_TEST is {sizes[0]} in stage source and {sizes[1]} in stage target; an "
            "image is resized once for both models: make them equal"
        )
    if [*source.DATASETS.NAMES] != [*pretrain.DATASETS.NAMES]:
        raise UserError(
            f"DATASETS.NAMES is {[*source.DATASETS.NAMES]} in stage source and "
            f"{[*pretrain.DATASETS.NAMES]} in stage pretrain; what is selected is the source's: "
            "make them equal"
        )


def _check_selection(stages: dict[str, Stage], todo: set[str], cfg: CfgNode) -> None:
    """Check that the selection will be enough for a batch, before it is made.

    Raises:
        UserError: it will not.
    """
    source, pretrain = stages["source"].cfg, stages["pretrain"].cfg
    if "select" not in todo or "pretrain" not in todo:
        return
    assert source is not None and pretrain is not None
    kept = number_kept(training_size(source)["images"], cfg.KEEP, cfg.KEEP_NUM)
    if kept < pretrain.SOLVER.IMS_PER_BATCH:
        raise UserError(
            f"stage pretrain: {kept} selected images (KEEP {cfg.KEEP}, KEEP_NUM {cfg.KEEP_NUM}) "
            f"are fewer than one batch, SOLVER.IMS_PER_BATCH = {pretrain.SOLVER.IMS_PER_BATCH}"
        )


def _rehearse(giving: Stage, taking: Stage) -> None:
    """Load one stage's backbone, with random weights, as another stage will.

    Raises:
        UserError: it does not fit.
    """
    assert giving.cfg is not None and taking.cfg is not None
    cfg, receiver = giving.cfg.clone(), taking.cfg.clone()
    cfg.MODEL.BACKBONE.PRETRAIN = False
    resolve_side_information(receiver)
    with _named(taking), tempfile.TemporaryDirectory() as folder, torch.random.fork_rng():
        path = str(Path(folder) / f"backbone of stage {giving.name}.pth")
        with AtomicPathManager.open(path, "wb") as file:
            torch.save(build_backbone(cfg).state_dict(), file)
        receiver.MODEL.BACKBONE.PRETRAIN_PATH = path
        build_backbone(receiver)


def check_outputs(stage: Stage, folder: Path) -> None:
    """Check that what a stage has made is there.

    Raises:
        UserError: it is not.
    """
    for path in stage.outputs.values():
        if not (folder / path).exists():
            raise UserError(
                f"stage {stage.name} is done, but {str(folder / path)!r} is not there; put it "
                f"back, or delete {FOLDER}/{stage.name}.json and what is left of the stage to run "
                "it again"
            )


def check_unused(stage: Stage, folder: Path) -> None:
    """Check that a stage which was never begun does not find something of another run.

    Raises:
        UserError: there is something.
    """
    for path in stage.outputs.values():
        found = folder / path
        if found.exists() or (stage.trains and (found.parent / "last_checkpoint").exists()):
            behind = ", or begin behind this stage with --from to use it"
            raise UserError(
                f"{str(found.parent if stage.trains else found)!r} is there already, but there is "
                f"no {FOLDER}/{stage.name}.json: it is of another run. Delete it or choose another "
                f"OUTPUT_DIR{behind if stage.name in STAGES else ''}"
            )
