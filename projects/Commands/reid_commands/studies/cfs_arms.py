"""The arms of the study of CFS: what each pre-trains on, its trainings and evaluation as stages.

Every arm trains as the pipeline's stages pretrain and finetune do, but for the images and the first
weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from cfs import select
from cfs.pipeline import checks as pipeline_checks
from cfs.pipeline.config import stage_options
from cfs.pipeline.plan import plan, training_like
from cfs.pipeline.records import read_record
from cfs.pipeline.stages.evaluation import evaluation_stage
from cfs.pipeline.stages.selection import SCORES
from cfs.pipeline.stages.settings import NOT_COMPARED
from cfs.pipeline.stages.stage import Stage, read_config
from cfs.pipeline.stages.training import only_listed, started_from
from cfs.scores.lists import write_list
from cfs.scores.reading import read_scores
from fastreid.config import CfgNode
from reid_common.errors import UserError
from toyreid.pool.plan import PERSON

from . import cfs_truth

ALL, RANDOM, WORST, DOMAIN = "all", "random", "worst", "domain"
DOMAIN_TITLE = "DINO on the target's domain alone (hidden truth)"


TITLES = {  # training that is evaluated -> row of the table
    "scratch": "from scratch",
    f"finetune_{ALL}": "DINO on all",
    "finetune": "DINO on the best {} by CFS",
    f"finetune_{RANDOM}": "DINO on a random {}",
    f"finetune_{WORST}": "DINO on the worst {} by CFS",
}


def _list_name(arm: str) -> str:
    return f"selection/{arm}.txt"


def _has_list(folder: Path, arm: str) -> bool:
    """Whether the list of an arm is there, or must be, since its training has begun."""
    return (folder / _list_name(arm)).exists() or read_record(folder, f"pretrain_{arm}") is not None


def write_selections(
    folder: Path, count: int, seed: int, domain: bool = False, pool: Path | None = None
) -> None:
    """List as many images as CFS has selected: random ones, and those of the lowest scores.

    The list of an arm that has started is not changed.

    Args:
        folder: of a pipeline that has scored.
        count: number of images.
        seed: of the random choice.
        domain: also list random ones of the target's domain, as many as there are or ``count``.
        pool: folder with the truth; None: ToyUnlabeled's.
    """
    scores = read_scores(str(folder / SCORES))
    scored = np.flatnonzero(np.isfinite(scores.values))
    chosen = {
        RANDOM: np.random.default_rng(seed).permutation(scored)[:count],
        WORST: select(scores.names, -scores.values, keep_num=count),
    }
    if domain:
        rows = scored[cfs_truth.kinds_of(scores.names, pool)[scored] == PERSON]
        chosen[DOMAIN] = np.random.default_rng(seed).permutation(rows)[:count]
    for arm, rows in chosen.items():
        file = folder / _list_name(arm)
        if not file.exists() or read_record(folder, f"pretrain_{arm}") is None:
            file.parent.mkdir(exist_ok=True)
            write_list(file, scores.names.take(rows), scores.values[rows])


def study_stages(cfg: CfgNode, domain: bool = False) -> list[Stage]:
    """Stages beyond the pipeline, in order: trainings, from scratch the last, then evaluations.

    Pre-training on all images is the pipeline's stage source where both are the same training.

    Args:
        cfg: of the pipeline.
        domain: also those on the images of the target's domain alone.

    Raises:
        UserError: a config is wrong, or has not one test set.
    """
    folder = Path(cfg.OUTPUT_DIR)
    pool = read_config(cfg.PRETRAIN.CONFIG, stage_options(cfg, "pretrain"), "pretrain")
    source = plan(cfg)[0]  # of theta_s

    def training(stage: str, name: str, more: Sequence[str]) -> Stage:
        return training_like(cfg, stage, name, name.replace("_", ", "), more)

    stages = []
    for arm in (ALL, RANDOM, WORST, *([DOMAIN] if domain else [])):
        chosen = [] if arm == ALL else only_listed(pool, str(folder / _list_name(arm)))
        pretrain = training("pretrain", f"pretrain_{arm}", chosen)
        if arm == ALL and _depends_on(pretrain) == _depends_on(source):
            pretrain = source
        else:
            stages.append(pretrain)
        weights = folder / pretrain.outputs["weights"]
        stages.append(training("finetune", f"finetune_{arm}", started_from(weights)))
    scratch = training("finetune", "scratch", ["MODEL.BACKBONE.PRETRAIN", "False"])
    tests = _one_test_set(scratch.cfg)
    keep = f"{cfg.KEEP_NUM:,}" if cfg.KEEP is None else f"{cfg.KEEP:.0%}"
    tables = {"study": {training: title.format(keep) for training, title in TITLES.items()}}
    if domain:
        tables["study_domain"] = {f"finetune_{DOMAIN}": DOMAIN_TITLE}
    how = {"options": cfg.EVALUATE.OPTS, "num_gpus": cfg.NUM_GPUS, "cfg": scratch.cfg}
    evaluations = [evaluation_stage(folder, *table, tests, **how) for table in tables.items()]
    return [*stages, scratch, *evaluations]


def _depends_on(stage: Stage) -> tuple[dict[str, Any], dict[str, str]]:
    """What makes the weights of a training: settings that are compared, and files."""
    compared = {key: v for key, v in stage.settings.items() if key not in NOT_COMPARED}
    return compared, stage.inputs


def _one_test_set(cfg: CfgNode) -> list[str]:
    if len(cfg.DATASETS.TESTS) != 1:
        raise UserError(
            f"stage finetune has DATASETS.TESTS {[*cfg.DATASETS.TESTS]}; the study's table has "
            "room for one test set: add FINETUNE.DATASETS.TESTS \"('ToyReID',)\" to the command"
        )
    return [*cfg.DATASETS.TESTS]


def check_study(cfg: CfgNode, stages: Sequence[Stage]) -> None:
    """Check what is there of earlier calls, before the pipeline begins.

    Args:
        cfg: of the pipeline.
        stages: see :func:`study_stages`.

    Raises:
        UserError: one was started with other settings, or before a stage that it depends on.
    """
    before = plan(cfg)
    for stage in before:
        if stage.name == "select":  # the study's lists come from the same scores
            folder = stage.folder
            made = [arm for arm in (RANDOM, WORST, DOMAIN) if _has_list(folder, arm)]
            stage.outputs = {**stage.outputs, **{arm: _list_name(arm) for arm in made}}
    pipeline_checks.check_records([*before, *stages], [*before, *stages])
