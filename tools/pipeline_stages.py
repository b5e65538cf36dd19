"""The stages of conditional pre-training: the command lines that run them, and how they connect.

Algorithm 1 of arXiv 2111.12084 and what surrounds it. Each command can be run by hand.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import train_net
from cfs.pipeline.config import STAGES, stage_options
from cfs.pipeline.settings import training_inputs, training_settings
from cfs.scoring.score_files import META
from dinopretrain.trainer import TEACHER_FILE
from fastreid.config import CfgNode
from fastreid_compat.errors import UserError

TOOLS = Path(__file__).resolve().parent
SCORES = "scores"
SELECTION = "selection/CFS_list.pkl"
RESULTS = "results.json"
RERANKING = "re-ranking"
TITLES = {
    "source": "DINO on the source",
    "score": "catastrophic forgetting scores of the source",
    "select": "selection of the highest scores",
    "pretrain": "DINO on the selection",
    "finetune": "TransReID from DINO on the selection",
    "evaluate": "evaluation",
}


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
        args = argparse.Namespace(config_file=find_config(config), opts=list(options))
        return train_net.merged_config(args)
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


def score_stage(cfg: CfgNode, folder: Path, source: Stage, target: Stage) -> Stage:
    """Scoring of the source's images by tools/cfs.py."""
    assert source.cfg is not None and target.cfg is not None
    options, names = cfg.SCORE, [*source.cfg.DATASETS.NAMES]
    inputs = {
        "source weights": str(folder / source.outputs["weights"]),
        "target weights": str(folder / target.outputs["weights"]),
    }
    run = [sys.executable]
    if cfg.NUM_GPUS > 1:
        run += ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node"]
        run += [str(cfg.NUM_GPUS)]
    # Each model has its own normalisation: DINO ImageNet's, fine-tuning 0.5.
    line = ["--source-weights", inputs["source weights"]]
    line += ["--target-weights", inputs["target weights"]]
    line += ["--config-file", str(folder / source.outputs["config"])]
    line += ["--target-config-file", str(folder / target.outputs["config"])]
    line += ["--dataset", *names, "--out", str(folder / SCORES)]
    line += ["--batch-size", str(options.BATCH_SIZE), "--shard-size", str(options.SHARD_SIZE)]
    line += ["--precision", options.PRECISION]
    line += ["--num-workers", str(source.cfg.DATALOADER.NUM_WORKERS)]
    if source.cfg.MODEL.DEVICE == "cpu":
        line += ["--device", "cpu"]
    settings: dict[str, Any] = {"DATASETS.NAMES": names}
    settings |= {f"SCORE.{key}": value for key, value in options.items()}
    for stage in (source, target):
        assert stage.cfg is not None
        model, size = stage.cfg.MODEL, [*stage.cfg.INPUT.SIZE_TEST]
        settings[f"{stage.name}.MODEL.PIXEL_MEAN"] = [*model.PIXEL_MEAN]
        settings[f"{stage.name}.MODEL.PIXEL_STD"] = [*model.PIXEL_STD]
        settings[f"{stage.name}.INPUT.SIZE_TEST"] = size
    return Stage(
        name="score",
        title=TITLES["score"],
        commands=[[*run, tool("cfs.py"), "score", *line]],
        settings=settings,
        inputs=inputs,
        outputs={"scores": SCORES, "meta": f"{SCORES}/{META}"},
        cfg=source.cfg,
        num_gpus=cfg.NUM_GPUS,
    )


def select_stage(cfg: CfgNode, folder: Path) -> Stage:
    """Selection by tools/cfs.py, as CFS_list.pkl and as text."""
    how = ["--keep-num", str(cfg.KEEP_NUM)] if cfg.KEEP is None else ["--keep", str(cfg.KEEP)]
    scores = str(folder / SCORES)
    lists = {"list": SELECTION, "text": str(Path(SELECTION).with_suffix(".txt"))}
    line = [sys.executable, tool("cfs.py"), "select", "--scores", scores, *how, "--out"]
    return Stage(
        name="select",
        title=TITLES["select"],
        commands=[[*line, str(folder / file)] for file in lists.values()],
        settings={"KEEP": cfg.KEEP, "KEEP_NUM": cfg.KEEP_NUM},
        inputs={"scores": scores},
        outputs=lists,
    )


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
        title=TITLES["evaluate"],
        commands=commands,
        settings={**settings, "options": [*map(str, options)]},
        inputs=inputs,
        outputs={"results": f"{name}/{RESULTS}"},
        cfg=cfg or read_config(str(folder / next(iter(models)) / "config.yaml"), (), name),
        parts=parts,
        num_gpus=num_gpus,
    )


def plan(cfg: CfgNode, folder: Path) -> list[Stage]:
    """The seven stages of a pipeline's config, in order.

    Raises:
        UserError: a stage's config is wrong, or two do not fit together.
    """

    def training(name: str, title: str, *wiring: str) -> Stage:
        config, options = cfg[name.upper()].CONFIG, [*stage_options(cfg, name), *wiring]
        return training_stage(folder, name, title, config, options, cfg.NUM_GPUS)

    source = training("source", TITLES["source"])
    target_cfg = read_config(cfg.TARGET.CONFIG, stage_options(cfg, "target"), "target")
    kind = "DINO" if is_dino(target_cfg) else "TransReID"
    target = training(
        "target", f"{kind} on the target", *started_from(folder / source.outputs["weights"])
    )
    pool = read_config(cfg.PRETRAIN.CONFIG, stage_options(cfg, "pretrain"), "pretrain")
    listed = only_listed(pool, str(folder / SELECTION))
    pretrain = training("pretrain", TITLES["pretrain"], *listed)
    finetune = training(
        "finetune", TITLES["finetune"], *started_from(folder / pretrain.outputs["weights"])
    )
    assert target.cfg is not None and finetune.cfg is not None
    both = [*target.cfg.DATASETS.TESTS, *finetune.cfg.DATASETS.TESTS]
    evaluate = evaluation_stage(
        folder,
        "evaluate",
        {"target": f"{target.title} (theta_t)", "finetune": finetune.title},
        [*cfg.EVALUATE.TESTS] or [*dict.fromkeys(both)],
        cfg.EVALUATE.RERANK,
        cfg.EVALUATE.OPTS,
        cfg.NUM_GPUS,
        finetune.cfg,
    )
    score, select = score_stage(cfg, folder, source, target), select_stage(cfg, folder)
    stages = [source, target, score, select, pretrain, finetune, evaluate]
    assert [stage.name for stage in stages] == [*STAGES]
    return stages
