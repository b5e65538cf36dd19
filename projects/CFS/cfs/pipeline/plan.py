"""The seven stages of conditional pre-training, and how each is connected to those before it.

Algorithm 1 of arXiv 2111.12084 and what surrounds it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastreid.config import CfgNode

from ..scores.score_files import META
from .config import STAGES, stage_gpus, stage_options
from .stages import (
    Stage,
    evaluation_stage,
    is_dino,
    only_listed,
    read_config,
    started_from,
    tool,
    training_stage,
)

SCORES = "scores"
SELECTION = "selection/CFS_list.pkl"
TITLES = {
    "source": "DINO on the source",
    "score": "catastrophic forgetting scores of the source",
    "select": "selection of the highest scores",
    "pretrain": "DINO on the selection",
    "finetune": "TransReID from DINO on the selection",
}


def score_stage(cfg: CfgNode, folder: Path, source: Stage, target: Stage) -> Stage:
    """Scoring of the source's images by tools/cfs_scores.py."""
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
    if source.cfg.MODEL.DEVICE == "cpu" or ":" in source.cfg.MODEL.DEVICE:
        line += ["--device", source.cfg.MODEL.DEVICE]
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
        commands=[[*run, tool("cfs_scores.py"), "score", *line]],
        settings=settings,
        inputs=inputs,
        outputs={"scores": SCORES, "meta": f"{SCORES}/{META}"},
        cfg=source.cfg,
        num_gpus=cfg.NUM_GPUS,
    )


def select_stage(cfg: CfgNode, folder: Path) -> Stage:
    """Selection by tools/cfs_scores.py, as CFS_list.pkl and as text."""
    how = ["--keep-num", str(cfg.KEEP_NUM)] if cfg.KEEP is None else ["--keep", str(cfg.KEEP)]
    scores = str(folder / SCORES)
    lists = {"list": SELECTION, "text": str(Path(SELECTION).with_suffix(".txt"))}
    line = [sys.executable, tool("cfs_scores.py"), "select", "--scores", scores, *how, "--out"]
    return Stage(
        name="select",
        title=TITLES["select"],
        commands=[[*line, str(folder / file)] for file in lists.values()],
        settings={"KEEP": cfg.KEEP, "KEEP_NUM": cfg.KEEP_NUM},
        inputs={"scores": scores},
        outputs=lists,
    )


def training_like(
    cfg: CfgNode, folder: Path, stage: str, name: str, title: str, more: Sequence[str] = ()
) -> Stage:
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


def plan(cfg: CfgNode, folder: Path) -> list[Stage]:
    """The seven stages of a pipeline's config, in order.

    Raises:
        UserError: a stage's config is wrong, or two do not fit together.
    """

    def training(name: str, title: str, *wiring: str) -> Stage:
        return training_like(cfg, folder, name, name, title, wiring)

    source = training("source", TITLES["source"])
    target_cfg = read_config(cfg.TARGET.CONFIG, stage_options(cfg, "target"), "target")
    kind = "DINO" if is_dino(target_cfg) else "TransReID"
    theta_s = started_from(folder / source.outputs["weights"])
    target = training("target", f"{kind} on the target", *theta_s)
    pool = read_config(cfg.PRETRAIN.CONFIG, stage_options(cfg, "pretrain"), "pretrain")
    listed = only_listed(pool, str(folder / SELECTION))
    pretrain = training("pretrain", TITLES["pretrain"], *listed)
    conditional = started_from(folder / pretrain.outputs["weights"])
    finetune = training("finetune", TITLES["finetune"], *conditional)
    assert target.cfg is not None and finetune.cfg is not None
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
    score, select = score_stage(cfg, folder, source, target), select_stage(cfg, folder)
    stages = [source, target, score, select, pretrain, finetune, evaluate]
    assert [stage.name for stage in stages] == [*STAGES]
    return stages
