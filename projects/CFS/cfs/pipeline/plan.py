"""The seven stages of conditional pre-training, and how each is connected to those before it.

Algorithm 1 of arXiv 2111.12084 and what surrounds it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastreid.config import CfgNode
from reid_common.errors import UserError
from reid_core.config.values import check_choice

from .config import STAGES, load_config, stage_gpus, stage_options
from .stages import (
    Stage,
    TrainingStage,
    evaluation_stage,
    find_config,
    is_dino,
    only_listed,
    read_config,
    started_from,
    training_stage,
)
from .stages.selection import SCORES, SELECTION, score_stage, select_stage

__all__ = ["SCORES", "plan", "planned", "training_like"]


def planned(
    config: str | Path, options: Sequence[Any], only: Sequence[str], start: str
) -> tuple[CfgNode, list[Stage], list[Stage]]:
    """Read the file of a pipeline.

    Args:
        config: the file.
        options: KEY VALUE pairs.
        only: names of the stages to run; () = all.
        start: first stage to run; "" = the first.

    Returns:
        The pipeline's config; its seven stages; those of them to run.

    Raises:
        UserError: what is wrong with the config, ``only`` or ``start``.
    """
    cfg = load_config(find_config(str(config)), options)
    names = chosen_stages(only, start)
    stages = plan(cfg, Path(cfg.OUTPUT_DIR))
    return cfg, stages, [stage for stage in stages if stage.name in names]


def chosen_stages(only: Sequence[str], start: str) -> list[str]:
    """Names of the stages that --only and --from leave, in order.

    Raises:
        UserError: a name that is none, or both are given.
    """
    for option, names in (("--only", only), ("--from", [start] if start else [])):
        for name in names:
            check_choice(option, name, STAGES)
    if only and start:
        raise UserError("--only and --from are given; leave one of them out")
    if start:
        return [*STAGES[STAGES.index(start) :]]
    return [name for name in STAGES if name in only or not only]


def plan(cfg: CfgNode, folder: Path) -> list[Stage]:
    """The seven stages of a pipeline's config, in order.

    Raises:
        UserError: a stage's config is wrong, or two do not fit together.
    """

    def training(name: str, title: str, *wiring: str) -> TrainingStage:
        return training_like(cfg, folder, name, name, title, wiring)

    source = training("source", "DINO on the source")
    target_cfg = read_config(cfg.TARGET.CONFIG, stage_options(cfg, "target"), "target")
    kind = "DINO" if is_dino(target_cfg) else "TransReID"
    theta_s = started_from(folder / source.outputs["weights"])
    target = training("target", f"{kind} on the target", *theta_s)
    pool = read_config(cfg.PRETRAIN.CONFIG, stage_options(cfg, "pretrain"), "pretrain")
    listed = only_listed(pool, str(folder / SELECTION))
    pretrain = training("pretrain", "DINO on the selection", *listed)
    conditional = started_from(folder / pretrain.outputs["weights"])
    finetune = training("finetune", "TransReID from DINO on the selection", *conditional)
    both = [*target.model_cfg.DATASETS.TESTS, *finetune.model_cfg.DATASETS.TESTS]
    evaluate = evaluation_stage(
        folder,
        "evaluate",
        {"target": f"{target.title} (theta_t)", "finetune": finetune.title},
        [*dict.fromkeys(cfg.EVALUATE.TESTS or both)],
        cfg.EVALUATE.RERANK,
        cfg.EVALUATE.OPTS,
        cfg.NUM_GPUS,
        finetune.cfg,
    )
    score, select = score_stage(cfg, folder, source, target), select_stage(cfg, folder)
    stages = [source, target, score, select, pretrain, finetune, evaluate]
    assert [stage.name for stage in stages] == [*STAGES]
    return stages


def training_like(
    cfg: CfgNode, folder: Path, stage: str, name: str, title: str, more: Sequence[str] = ()
) -> TrainingStage:
    """A training with the config, options and processes of one of the pipeline's stages.

    Args:
        cfg: of the pipeline.
        folder: its OUTPUT_DIR.
        stage: source, target, pretrain or finetune.
        name: of the training.
        title: what it is.
        more: KEY VALUE pairs after the stage's own.

    Raises:
        UserError: the stage's config is wrong.
    """
    config, options = cfg[stage.upper()].CONFIG, [*stage_options(cfg, stage), *more]
    return training_stage(folder, name, title, config, options, stage_gpus(cfg, stage))
