"""Run a whole pipeline, or one stage of one's own: done stages are skipped, others resumed.

In Python::

    folder = run_pipeline("projects/CFS/configs/Toy.yml", ["OUTPUT_DIR", "logs/x", "SEED", "2"])
    run_training(folder, "random", "DINO on a random half", CONFIG, ["DATASETS.FILTERS", "[...]"])
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from reid_common.files import read_json
from reid_common.locks import only_holder
from reid_core.run.validation import check_output_dir

from . import checks
from .config import STAGES
from .plan import planned
from .records import Record
from .report import writing
from .skip_or_run import run_unless_done
from .stages.evaluation import evaluation_stage
from .stages.stage import Stage
from .stages.training import training_stage


def run_pipeline(
    config: str | Path, options: Sequence[Any] = (), only: Sequence[str] = (), start: str = ""
) -> Path:
    """Run the stages of a pipeline that are not done yet, and write its report.

    Args:
        config: file of the pipeline, see :mod:`cfs.pipeline.config`.
        options: KEY VALUE pairs, as behind the command.
        only: names of the stages to run; () = all.
        start: first stage to run; "" = the first.

    Returns:
        OUTPUT_DIR.

    Raises:
        UserError: something is wrong with the config, the data or what earlier calls have made; or
            a stage failed.
        cfs.pipeline.process.Interrupted: a signal asked to stop.
    """
    cfg, stages, chosen = planned(config, options, only, start)
    folder = Path(cfg.OUTPUT_DIR)
    with _alone(folder):
        checks.check_stages(stages, chosen, folder, cfg)
        begin = time.monotonic()
        for stage in chosen:
            number = STAGES.index(stage.name) + 1
            run_unless_done(stage, f"stage {number} of {len(STAGES)}, {stage.name}", begin)
        write_report(folder)
    return folder


def run_training(folder: Path, *how: Any, **options: Any) -> Record:
    """Train as a recorded stage of its own, none of a pipeline's seven, in a folder of its name.

    ``folder`` is a pipeline's, or any other; see :func:`.stages.training.training_stage`.
    """
    return run_stage(folder, training_stage(folder, *how, **options))


def run_evaluation(folder: Path, *how: Any, **options: Any) -> list[dict[str, Any]]:
    """Evaluate trainings of ``folder`` as a recorded stage; returns its results.json.

    See :func:`.stages.evaluation.evaluation_stage`.
    """
    stage = evaluation_stage(folder, *how, **options)
    run_stage(folder, stage)
    return read_json(folder / stage.outputs["results"])


def run_stage(folder: Path, stage: Stage) -> Record:
    """Check and run one stage alone; see :func:`run_training` and :func:`run_evaluation`."""
    with _alone(folder):
        return run_unless_done(stage, stage.name, time.monotonic(), check=True)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep a second pipeline out of the folder."""
    check_output_dir(str(folder))
    refusal = f"another pipeline is running in {str(folder)!r}; wait for it"
    with only_holder(folder / ".pipeline.lock", refusal):
        yield


def write_report(folder: Path) -> None:
    """Write report.html and report.md of a pipeline's folder."""
    page, _ = writing.write_report(folder)
    print(f"\nreport: {page}")
