"""A stage that evaluates trained models and collects their metrics in one file."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fastreid.config import CfgNode
from reid_common.files import read_json, write_json
from reid_core.data.names import dataset_class
from reid_core.data.opened_sets import opened_set
from reid_core.run.reports import EVALUATION

from .stage import Stage, command_line, errors_of, read_config

RERANKING = "re-ranking"


class EvaluationStage(Stage):
    """See :func:`evaluation_stage`."""

    def check(self) -> None:
        """Check the names of the test sets."""
        with errors_of(self.name):
            for name in self.settings["tests"]:
                dataset_class(name, "EVALUATE.TESTS")

    def collect(self) -> None:
        """Write the results of all commands: one entry a model, data set and variant."""
        rows = [
            {**{key: part[key] for key in ("model", "title", "variant")}, "dataset": name, **found}
            for part in self.parts
            for name, found in read_json(self.folder / part["folder"] / EVALUATION).items()
        ]
        write_json(self.folder / self.outputs["results"], rows)

    def sizes(self) -> dict[str, int]:
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
    """Evaluation of trained models, collected in ``folder/name/results.json``.

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
    launch = ["--num-gpus", num_gpus] if num_gpus > 1 else []
    given = [*map(str, options)]
    commands, parts, inputs = [], [], {}
    for model, title in models.items():
        weights = inputs[model] = str(folder / model / "model_final.pth")
        for variant in ["", RERANKING] if rerank else [""]:
            out = os.path.join(name, f"{model}-{variant}" if variant else model)
            pairs = ["MODEL.WEIGHTS", weights, "DATASETS.TESTS", repr(tuple(tests)), *given]
            pairs += ["TEST.RERANK.ENABLED", str(bool(variant)), "OUTPUT_DIR", str(folder / out)]
            line = ["--eval-only", "--config-file", folder / model / "config.yaml", *launch]
            commands.append(command_line("train", *line, *pairs))
            parts.append({"model": model, "title": title, "variant": variant, "folder": out})
    settings = {"models": dict(models), "tests": [*tests], "rerank": rerank, "options": given}
    return EvaluationStage(
        folder=folder,
        name=name,
        title="evaluation",
        commands=commands,
        settings=settings,
        inputs=inputs,
        outputs={"results": f"{name}/results.json"},
        cfg=cfg or read_config(str(folder / next(iter(models)) / "config.yaml"), (), name),
        num_gpus=num_gpus,
        parts=parts,
    )
