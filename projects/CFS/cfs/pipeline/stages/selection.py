"""Stages that score the source's images and select the highest scores."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from dinopretrain.data.listing import read_list
from fastreid.config import CfgNode

from ...images.keys import key_list
from ...images.listing import open_listing
from ...scores.lists import check_text_names
from ...scores.reading import read_scores
from ...scores.shards import META
from .stage import Stage, command_line, errors_of

SCORES = "scores"
SELECTION = "selection/CFS_list.pkl"


class ScoreStage(Stage):
    """See :func:`score_stage`."""

    def sizes(self) -> dict[str, int]:
        """Images, and how many of them have no score."""
        values = read_scores(str(self.folder / SCORES)).values
        return {"images": len(values), "bad": int(np.isnan(values).sum())}


@dataclass
class SelectStage(Stage):
    """See :func:`select_stage`.

    Attributes:
        scored: config of the source, whose images have the scores.
    """

    scored: Any = None

    def check(self) -> None:
        """Check that a list of text can hold the names of the source's images."""
        with errors_of(self.name):
            check_text_names(key_list(open_listing(self.scored, self.scored.DATASETS.NAMES)))

    def sizes(self) -> dict[str, int]:
        """Images with a score, and how many of them are kept."""
        values = read_scores(str(self.folder / SCORES)).values
        kept = len(read_list(str(self.folder / SELECTION)))
        return {"images": int(np.isfinite(values).sum()), "kept": kept}


def score_stage(cfg: CfgNode, source: Stage, target: Stage) -> ScoreStage:
    """Scoring of the source's images by theta_s of ``source`` and theta_t of ``target``."""
    options, model, folder = cfg.SCORE, source.cfg, source.folder
    # Each model has its own normalisation: DINO ImageNet's, fine-tuning 0.5.
    line = {
        "--source-weights": folder / source.outputs["weights"],
        "--target-weights": folder / target.outputs["weights"],
        "--config-file": folder / source.outputs["config"],
        "--target-config-file": folder / target.outputs["config"],
        "--out": folder / SCORES,
        "--batch-size": options.BATCH_SIZE,
        "--shard-size": options.SHARD_SIZE,
        "--precision": options.PRECISION,
        "--max-bad": options.MAX_BAD,
        "--num-workers": model.DATALOADER.NUM_WORKERS,
    }
    if model.MODEL.DEVICE == "cpu" or ":" in model.MODEL.DEVICE:
        line["--device"] = model.MODEL.DEVICE
    words = ["--dataset", *model.DATASETS.NAMES, *(word for pair in line.items() for word in pair)]
    return ScoreStage(
        folder=folder,
        name="score",
        title="catastrophic forgetting scores of the source",
        commands=[command_line("score", *words, num_gpus=cfg.NUM_GPUS)],
        settings=_score_settings(options, source, target),
        inputs={f"{s.name} weights": str(folder / s.outputs["weights"]) for s in (source, target)},
        outputs={"scores": SCORES, "meta": f"{SCORES}/{META}"},
        cfg=model,
        num_gpus=cfg.NUM_GPUS,
    )


def _score_settings(options: CfgNode, source: Stage, target: Stage) -> dict[str, Any]:
    # As the training has them: paths in the pipeline's folder are relative to it
    settings: dict[str, Any] = {"DATASETS.NAMES": source.settings["DATASETS.NAMES"]}
    settings |= {f"SCORE.{key}": options[key] for key in options if key != "MAX_BAD"}
    for stage in (source, target):
        for node, key in (("MODEL", "PIXEL_MEAN"), ("MODEL", "PIXEL_STD"), ("INPUT", "SIZE_TEST")):
            settings[f"{stage.name}.{node}.{key}"] = [*stage.cfg[node][key]]
    return settings


def select_stage(cfg: CfgNode, source: Stage) -> SelectStage:
    """Selection of the highest scores of the source's images, as CFS_list.pkl and as text."""
    folder = source.folder
    how = ["--keep-num", cfg.KEEP_NUM] if cfg.KEEP is None else ["--keep", cfg.KEEP]
    scores = str(folder / SCORES)
    lists = {"list": SELECTION, "text": str(Path(SELECTION).with_suffix(".txt"))}
    return SelectStage(
        folder=folder,
        name="select",
        title="selection of the highest scores",
        commands=[
            command_line("select", "--scores", scores, *how, "--out", folder / file)
            for file in lists.values()
        ],
        settings={"KEEP": cfg.KEEP, "KEEP_NUM": cfg.KEEP_NUM},
        inputs={"scores": scores},
        outputs=lists,
        scored=source.cfg,
    )
