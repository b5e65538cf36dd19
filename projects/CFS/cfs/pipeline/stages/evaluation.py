"""A stage that evaluates trained models and collects their metrics in one file."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fastreid.config import CfgNode
from reid_common.files import read_json, write_json
from reid_core.data.names import dataset_class
from reid_core.data.opened_sets import opened_set
from reid_core.run.reports import EVALUATION

from .stage import Stage, read_config, tool

RESULTS = "results.json"
RERANKING = "re-ranking"


class EvaluationStage(Stage):
    """See :func:`evaluation_stage`."""

    def check(self) -> None:
        """Check the names of the test sets."""
        with self.named():
            for name in self.settings["tests"]:
                dataset_class(name, "EVALUATE.TESTS")

    def collect(self, folder: Path) -> None:
        """Write the results of all commands: one entry a model, data set and variant."""
        rows = []
        for part in self.parts:
            for dataset, metrics in read_json(folder / part["folder"] / EVALUATION).items():
                about = {key: part[key] for key in ("model", "title", "variant")}
                rows.append({**about, "dataset": dataset, **metrics})
        write_json(folder / self.outputs["results"], rows)

    def sizes(self, folder: Path) -> dict[str, int]:
        """Query and gallery images of all test sets."""
        return {"images": sum(len(opened_set(name).test) for name in self.settings["tests"])}


def evaluation_stage(
    folder: Path,
    name: str,
    models: Mapping[str, str],
    tests: Sequence[str],
    rerank: bool = False,
    options: Sequence[Any] = (),
    num_gpus: int = 1,
    cfg: CfgNode | None = None,
) -> EvaluationStage:
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
    commands, parts, inputs = [], [], {}
    for model, title in models.items():
        weights = inputs[model] = str(folder / model / "model_final.pth")
        for variant in ["", RERANKING] if rerank else [""]:
            out = os.path.join(name, f"{model}-{variant}" if variant else model)
            pairs = ["MODEL.WEIGHTS", weights, "DATASETS.TESTS", repr(tuple(tests))]
            pairs += [*map(str, options), "TEST.RERANK.ENABLED", str(bool(variant))]
            pairs += ["OUTPUT_DIR", str(folder / out)]
            line = ["--eval-only", "--config-file", str(folder / model / "config.yaml"), *launch]
            commands.append([sys.executable, tool("train_net.py"), *line, *pairs])
            parts.append({"model": model, "title": title, "variant": variant, "folder": out})
    settings = {"models": dict(models), "tests": [*tests], "rerank": rerank}
    return EvaluationStage(
        name=name,
        title="evaluation",
        commands=commands,
        settings={**settings, "options": [*map(str, options)]},
        inputs=inputs,
        outputs={"results": f"{name}/{RESULTS}"},
        cfg=cfg or read_config(str(folder / next(iter(models)) / "config.yaml"), (), name),
        num_gpus=num_gpus,
        parts=parts,
    )
