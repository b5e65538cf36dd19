"""Stages that score the source's images and select the highest scores, by tools/cfs_scores.py."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from dinopretrain.data.listing import read_list
from fastreid.config import CfgNode

from ...scores.reading import read_scores
from ...scores.shards import META
from .stage import Stage, tool

SCORES = "scores"
SELECTION = "selection/CFS_list.pkl"


class ScoreStage(Stage):
    """See :func:`score_stage`."""

    def sizes(self, folder: Path) -> dict[str, int]:
        """Images, and how many of them have no score."""
        values = read_scores(str(folder / SCORES)).values
        return {"images": len(values), "bad": int(np.isnan(values).sum())}


class SelectStage(Stage):
    """See :func:`select_stage`."""

    def sizes(self, folder: Path) -> dict[str, int]:
        """Images with a score, and how many of them are kept."""
        values = read_scores(str(folder / SCORES)).values
        kept = len(read_list(str(folder / SELECTION)))
        return {"images": int(np.isfinite(values).sum()), "kept": kept}


def score_stage(cfg: CfgNode, folder: Path, source: Stage, target: Stage) -> ScoreStage:
    """Scoring of the source's images.

    Args:
        cfg: of the pipeline.
        folder: its OUTPUT_DIR.
        source: training of theta_s.
        target: training of theta_t.
    """
    options, model = cfg.SCORE, source.model_cfg
    names = [*model.DATASETS.NAMES]
    inputs = {
        "source weights": str(folder / source.outputs["weights"]),
        "target weights": str(folder / target.outputs["weights"]),
    }
    run = [sys.executable]
    if cfg.NUM_GPUS > 1:
        run += ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node"]
        run += [str(cfg.NUM_GPUS)]
    # Each model has its own normalisation: DINO ImageNet's, fine-tuning 0.5.
    line = {
        "--source-weights": inputs["source weights"],
        "--target-weights": inputs["target weights"],
        "--config-file": folder / source.outputs["config"],
        "--target-config-file": folder / target.outputs["config"],
        "--out": folder / SCORES,
        "--batch-size": options.BATCH_SIZE,
        "--shard-size": options.SHARD_SIZE,
        "--precision": options.PRECISION,
        "--num-workers": model.DATALOADER.NUM_WORKERS,
    }
    if model.MODEL.DEVICE == "cpu" or ":" in model.MODEL.DEVICE:
        line["--device"] = model.MODEL.DEVICE
    words = [str(word) for pair in line.items() for word in pair]
    return ScoreStage(
        name="score",
        title="catastrophic forgetting scores of the source",
        commands=[[*run, tool("cfs_scores.py"), "score", "--dataset", *names, *words]],
        settings=_score_settings(options, source, target),
        inputs=inputs,
        outputs={"scores": SCORES, "meta": f"{SCORES}/{META}"},
        cfg=model,
        num_gpus=cfg.NUM_GPUS,
    )


def _score_settings(options: CfgNode, source: Stage, target: Stage) -> dict[str, Any]:
    settings: dict[str, Any] = {"DATASETS.NAMES": [*source.model_cfg.DATASETS.NAMES]}
    settings |= {f"SCORE.{key}": value for key, value in options.items()}
    for stage in (source, target):
        model, size = stage.model_cfg.MODEL, [*stage.model_cfg.INPUT.SIZE_TEST]
        settings[f"{stage.name}.MODEL.PIXEL_MEAN"] = [*model.PIXEL_MEAN]
        settings[f"{stage.name}.MODEL.PIXEL_STD"] = [*model.PIXEL_STD]
        settings[f"{stage.name}.INPUT.SIZE_TEST"] = size
    return settings


def select_stage(cfg: CfgNode, folder: Path) -> SelectStage:
    """Selection of the highest scores, as CFS_list.pkl and as text.

    Args:
        cfg: of the pipeline.
        folder: its OUTPUT_DIR.
    """
    how = ["--keep-num", str(cfg.KEEP_NUM)] if cfg.KEEP is None else ["--keep", str(cfg.KEEP)]
    scores = str(folder / SCORES)
    lists = {"list": SELECTION, "text": str(Path(SELECTION).with_suffix(".txt"))}
    line = [sys.executable, tool("cfs_scores.py"), "select", "--scores", scores, *how, "--out"]
    return SelectStage(
        name="select",
        title="selection of the highest scores",
        commands=[[*line, str(folder / file)] for file in lists.values()],
        settings={"KEEP": cfg.KEEP, "KEEP_NUM": cfg.KEEP_NUM},
        inputs={"scores": scores},
        outputs=lists,
    )
