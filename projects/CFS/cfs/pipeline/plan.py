"""The seven stages of conditional pre-training, and how each is connected to those before it.

Algorithm 1 of arXiv 2111.12084 and what surrounds it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dinopretrain.methods import is_pretraining
from fastreid.config import CfgNode
from reid_common.errors import UserError
from reid_core.config import find_config
from reid_core.config.values import check_choice

from .config import STAGES, load_config, stage_gpus, stage_options
from .stages.evaluation import evaluation_stage
from .stages.selection import SELECTION, score_stage, select_stage
from .stages.stage import Stage, read_config
from .stages.training import TrainingStage, only_listed, started_from, training_stage


def planned(
    config: str | Path, options: Sequence[Any], only: Sequence[str], start: str
) -> tuple[CfgNode, list[Stage], list[Stage]]:
    """Read the file of a pipeline.

    Returns:
        The pipeline's config; its seven stages; those of them to run, in order.

    Raises:
        UserError: what is wrong with the config, ``only`` or ``start``; see ``run.run_pipeline``.
    """
    cfg = load_config(find_config(str(config)), options)
    for option, names in (("--only", only), ("--from", [start] if start else [])):
        for name in names:
            check_choice(option, name, STAGES)
    if only and start:
        raise UserError("--only and --from are given; leave one of them out")
    names = only or STAGES[STAGES.index(start) if start else 0 :]
    stages = plan(cfg)
    return cfg, stages, [stage for stage in stages if stage.name in names]


def plan(cfg: CfgNode) -> list[Stage]:
    """The seven stages of a pipeline's config, in order; UserError if a stage's config is wrong."""
    folder = Path(cfg.OUTPUT_DIR)

    def training(name: str, title: str, *wiring: str) -> TrainingStage:
        return training_like(cfg, name, name, title, wiring)

    def config_of(name: str) -> CfgNode:
        return read_config(cfg[name.upper()].CONFIG, stage_options(cfg, name), name)

    method = config_of("source").MODEL.META_ARCHITECTURE
    source = training("source", f"{method} on the source")
    target_cfg, pool = config_of("target"), config_of("pretrain")
    kind = target_cfg.MODEL.META_ARCHITECTURE if is_pretraining(target_cfg) else "TransReID"
    theta_s = started_from(folder / source.outputs["weights"])
    target = training("target", f"{kind} on the target", *theta_s)
    listed, method = only_listed(pool, str(folder / SELECTION)), pool.MODEL.META_ARCHITECTURE
    pretrain = training("pretrain", f"{method} on the selection", *listed)
    conditional = started_from(folder / pretrain.outputs["weights"])
    finetune = training("finetune", f"TransReID from {method} on the selection", *conditional)
    both = [*target.cfg.DATASETS.TESTS, *finetune.cfg.DATASETS.TESTS]
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
    score, select = score_stage(cfg, source, target), select_stage(cfg, source)
    stages = [source, target, score, select, pretrain, finetune, evaluate]
    assert [stage.name for stage in stages] == [*STAGES]
    return stages


def training_like(
    cfg: CfgNode, stage: str, name: str, title: str, more: Sequence[str] = ()
) -> TrainingStage:
    """A training ``name`` with the config, options and processes of one of the pipeline's stages.

    ``more`` are KEY VALUE pairs after the stage's own.
    """
    config, options = cfg[stage.upper()].CONFIG, [*stage_options(cfg, stage), *more]
    gpus = stage_gpus(cfg, stage)
    return training_stage(Path(cfg.OUTPUT_DIR), name, title, config, options, gpus)
