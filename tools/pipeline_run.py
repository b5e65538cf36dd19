"""Run stages: skip what is done, go on with what was cut, keep records; and a whole pipeline.

In Python::

    folder = run_pipeline("projects/CFS/configs/Toy.yml", ["OUTPUT_DIR", "logs/x", "SEED", "2"])
    run_training(folder, "random", "DINO on a random half", CONFIG, ["DATASETS.FILTERS", "[...]"])
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import platform
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pipeline_checks
import pipeline_process
import timm
import torch
from cfs.pipeline.config import STAGES, load_config
from cfs.pipeline.records import DONE, FOLDER, STARTED, Record, now, read_record, write_record
from cfs.pipeline.settings import check_same_settings, digests
from fastreid_compat.errors import UserError
from fastreid_compat.file_locks import only_holder
from fastreid_compat.settings import resolve_device
from fastreid_compat.validation import check_choice, check_output_dir
from pipeline_sizes import in_words, sizes_of
from pipeline_stages import (
    TOOLS,
    Stage,
    evaluation_stage,
    find_config,
    plan,
    training_stage,
)
from reports import write_json
from train_net import EVALUATION


def run_pipeline(
    config: str | Path,
    options: Sequence[Any] = (),
    only: Sequence[str] = (),
    start: str = "",
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
        pipeline_process.Interrupted: a signal asked to stop.
    """
    cfg = load_config(find_config(str(config)), options)
    chosen = chosen_stages(only, start)
    folder = Path(cfg.OUTPUT_DIR)
    with _alone(folder):
        stages = plan(cfg, folder)
        open_stages = [stage for stage in stages if stage.name in chosen]
        pipeline_checks.check_stages(stages, open_stages, folder, cfg)
        begin = time.monotonic()
        for stage in open_stages:
            number = STAGES.index(stage.name) + 1
            _run(stage, folder, f"stage {number} of {len(STAGES)}, {stage.name}", begin)
        write_report(folder)
    return folder


def run_training(
    folder: Path,
    name: str,
    title: str,
    config: str,
    options: Sequence[Any] = (),
    num_gpus: int = 1,
) -> Record:
    """Train as a recorded stage of its own in ``folder/name``; skipped if done, resumed if cut.

    Args:
        folder: where stages/ and the training's folder are; a pipeline's, or any other.
        name: of the stage, none of a pipeline's seven.
        title: what it is.
        config: FastReID config file.
        options: KEY VALUE pairs for it, without OUTPUT_DIR.
        num_gpus: processes.

    Raises:
        UserError: as :func:`run_pipeline`.
    """
    stage = training_stage(folder, name, title, config, options, num_gpus)
    return run_stage(folder, stage)


def run_evaluation(
    folder: Path,
    name: str,
    models: Mapping[str, str],
    tests: Sequence[str],
    rerank: bool = False,
    options: Sequence[Any] = (),
    num_gpus: int = 1,
) -> list[dict[str, Any]]:
    """Evaluate trainings of ``folder`` as a recorded stage; returns folder/name/results.json.

    Args:
        folder: of the trainings.
        name: of the stage, none of a pipeline's seven.
        models: name of a training -> title in the results.
        tests: test sets.
        rerank: evaluate with re-ranking as well.
        options: KEY VALUE pairs.
        num_gpus: processes.

    Raises:
        UserError: as :func:`run_pipeline`.
    """
    stage = evaluation_stage(folder, name, models, tests, rerank, options, num_gpus)
    run_stage(folder, stage)
    return read_json(folder / stage.outputs["results"])


def run_stage(folder: Path, stage: Stage) -> Record:
    """Check and run one stage alone; see :func:`run_training` and :func:`run_evaluation`."""
    with _alone(folder):
        record = read_record(folder, stage.name)
        if stage.trains and not (record and record.done):
            pipeline_checks.check_training(stage)
        return _run(stage, folder, stage.name, time.monotonic())


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


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep a second pipeline out of the folder."""
    check_output_dir(str(folder))
    refusal = f"another pipeline is running in {str(folder)!r}; wait for it"
    with only_holder(folder / ".pipeline.lock", refusal):
        yield


def _run(stage: Stage, folder: Path, what: str, begin: float) -> Record:
    """Run a stage that is not done, and keep its record."""
    record = read_record(folder, stage.name)
    settings = {**stage.settings, **digests(stage.inputs)}
    if record is not None:
        check_same_settings(record, settings, folder)
    if record is not None and record.done:
        pipeline_checks.check_outputs(stage, folder)
        print(f"{what}: done before, in {duration(record.seconds)}", flush=True)
        return record
    if record is None:
        pipeline_checks.check_unused(stage, folder)
        record = Record(stage.name, stage.title, started=now())
    record.title, record.commands, record.settings = stage.title, stage.commands, settings
    record.status, record.outputs = STARTED, stage.outputs
    record.attempts += 1
    record.machine, record.versions = machine(stage), versions()
    print(f"\n{what}: {stage.title} ({_elapsed(begin)})", flush=True)
    _run_commands(stage, folder, record, what)
    if stage.parts:
        write_json(folder / stage.outputs["results"], collected(stage, folder))
    pipeline_checks.check_outputs(stage, folder)
    record.sizes = sizes_of(stage, folder)
    record.status, record.finished = DONE, now()
    write_record(folder, record)
    print(
        f"{what}: done in {duration(record.seconds)}, {in_words(record.sizes)} ({_elapsed(begin)})",
        flush=True,
    )
    return record


def _run_commands(stage: Stage, folder: Path, record: Record, what: str) -> None:
    """Run the commands of a stage; its record says how long, also of one that is killed."""
    log = folder / FOLDER / f"{stage.name}.log"
    before, start = record.seconds, time.monotonic()

    def take_down() -> None:
        record.seconds = round(before + time.monotonic() - start, 1)
        write_record(folder, record)

    take_down()
    try:
        for command in stage.commands:
            status = pipeline_process.run_command(command, log, take_down)
            if status:
                raise UserError(_failure(what, status, log, command))
    finally:
        take_down()


def _failure(what: str, status: int, log: Path, command: Sequence[str]) -> str:
    """What to say of a command that failed."""
    how = f"exit status {status}"
    if status < 0:
        how = f"killed by {signal.Signals(-status).name}"
    return (
        f"{what} failed: {how}. What it said is in {str(log)!r}; its command: "
        f"{shlex.join(command)}. Nothing that was done is lost: when the cause is removed, the "
        "same command of the pipeline goes on from here"
    )


def collected(stage: Stage, folder: Path) -> list[dict[str, Any]]:
    """The results of an evaluation's commands: one entry a model, data set and variant."""
    rows = []
    for part in stage.parts:
        for dataset, figures in read_json(folder / part["folder"] / EVALUATION).items():
            about = {key: part[key] for key in ("model", "title", "variant")}
            rows.append({**about, "dataset": dataset, **figures})
    return rows


def write_report(folder: Path) -> None:
    """Write report.html and report.md of a pipeline's folder."""
    try:
        import pipeline_report
    except ModuleNotFoundError as error:
        if error.name != "pipeline_report":
            raise
        return
    page, _ = pipeline_report.write_report(folder)
    print(f"\nreport: {page}")


def read_json(path: Path) -> Any:
    """Content of a JSON file."""
    return json.loads(path.read_text())


def machine(stage: Stage) -> str:
    """Where a stage works, for people."""
    device = "cpu" if stage.cfg is None else resolve_device(stage.cfg)
    if device.startswith("cuda"):
        return f"{stage.num_gpus} x {torch.cuda.get_device_name()}"
    return f"{device}, {torch.get_num_threads()} threads"


def versions() -> dict[str, str]:
    """Versions of what makes the results."""
    line = ["git", "-C", str(TOOLS), "rev-parse", "HEAD"]
    try:
        commit = subprocess.run(line, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        commit = ""  # no checkout
    return {
        "torch": torch.__version__,
        "timm": timm.__version__,
        "fastreid": importlib.metadata.version("fastreid"),
        "python": platform.python_version(),
        "commit": commit,
    }


def duration(seconds: float) -> str:
    """Seconds as people say it."""
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} seconds"


def _elapsed(begin: float) -> str:
    return f"{duration(time.monotonic() - begin)} since the start"
