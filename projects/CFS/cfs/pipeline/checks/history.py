"""Whether what earlier calls have left in OUTPUT_DIR belongs to this call, and is up to date."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reid_common.errors import UserError

from ..config import STAGES
from ..records import FOLDER, Record, read_record
from ..stages import Stage
from ..stages.settings import INPUTS, NOT_COMPARED, current_settings, differing

Records = Mapping[str, Record | None]


def check_records(stages: Sequence[Stage], chosen: Sequence[Stage], folder: Path) -> list[Stage]:
    """Check what earlier calls have left, and return those of the chosen stages that are not done.

    Args:
        stages: all that make and read files of one another.
        chosen: those to run, in order.
        folder: OUTPUT_DIR.

    Raises:
        UserError: a stage was started with other settings or inputs, or with what is yet to be
            made; an input is missing; or a folder is of another run.
    """
    records = {stage.name: read_record(folder, stage.name) for stage in stages}
    todo = []
    for stage in chosen:
        record = records[stage.name]
        check_record(stage, record, current_settings(stage), folder)
        if record is None or not record.done:
            todo.append(stage)
    made_by = {str(folder / path): s for s in stages for path in s.outputs.values()}
    for stage in todo:
        for path in stage.inputs.values():
            if path in made_by and made_by[path] not in chosen:
                _check_input(stage, path, made_by[path].name, records)
    _check_nothing_stale(chosen, todo, made_by, records, folder)
    return todo


def check_record(
    stage: Stage, record: Record | None, settings: Mapping[str, Any], folder: Path
) -> None:
    """Check that a stage can be run, resumed or skipped with what is in its folder.

    Args:
        stage: which.
        record: of it; None: it was never started.
        settings: of this call.
        folder: OUTPUT_DIR.

    Raises:
        UserError: it was started with other settings or inputs, it is done and an output is
            missing, or it was never started and an output is there.
    """
    if record is None:
        _check_unused(stage, folder)
        return
    check_same_settings(record, settings, folder)
    if record.done:
        check_outputs(stage, folder)


def _check_unused(stage: Stage, folder: Path) -> None:
    for path in stage.outputs.values():
        found = folder / path
        if found.exists() or (stage.trains and (found.parent / "last_checkpoint").exists()):
            behind = ", or begin behind this stage with --from to use it"
            raise UserError(
                f"{str(found.parent if stage.trains else found)!r} is there already, but there is "
                f"no {FOLDER}/{stage.name}.json: it is of another run. Delete it or choose another "
                f"OUTPUT_DIR{behind if stage.name in STAGES else ''}"
            )


def check_same_settings(record: Record, settings: Mapping[str, Any], folder: Path) -> None:
    """Check that a stage is resumed, or skipped, with the settings that it was started with.

    Args:
        record: of the stage.
        settings: of this call; keys that only one side has do not count.
        folder: OUTPUT_DIR of the pipeline, for the message.

    Raises:
        UserError: the first key that differs, both values, and what to do.
    """
    for key in differing(record.settings, settings):
        if key in NOT_COMPARED:
            continue
        what = f"{key} was {record.settings[key]!r}, now it is {settings[key]!r}"
        if key.startswith(INPUTS):
            what = f"the file of {key.removeprefix(INPUTS)} has changed since"
        made = sorted({path.partition("/")[0] + "/" for path in record.outputs.values()})
        raise UserError(
            f"stage {record.stage} in {str(folder)!r} is {record.status} with other settings: "
            f"{what}. Set it back, choose another OUTPUT_DIR, or delete "
            f"{', '.join([f'{FOLDER}/{record.stage}.json', *made])} there to run it again"
        )


def check_outputs(stage: Stage, folder: Path) -> None:
    """Check that what a stage has made is there.

    Raises:
        UserError: it is not.
    """
    for path in stage.outputs.values():
        if not (folder / path).exists():
            raise UserError(
                f"stage {stage.name} is done, but {str(folder / path)!r} is not there; put it "
                f"back, or delete {FOLDER}/{stage.name}.json and what is left of the stage to run "
                "it again"
            )


def _check_input(stage: Stage, path: str, maker: str, records: Records) -> None:
    """Check that a file of a stage that is not chosen is there, and finished."""
    record = records[maker]
    if record is not None and not record.done:
        why = f"which stage {maker} has started and not finished"
    elif not Path(path).exists():
        why = f"which stage {maker} makes and which is missing"
    else:
        return
    raise UserError(
        f"stage {stage.name} needs {path!r}, {why}; run {maker} first, or leave --only and --from "
        "out"
    )


def _check_nothing_stale(
    chosen: Sequence[Stage],
    todo: Sequence[Stage],
    made_by: Mapping[str, Stage],
    records: Records,
    folder: Path,
) -> None:
    """Check that no stage was started with what a stage to run is yet to make.

    Its inputs would be found to have changed when its turn comes: days later.
    """
    new = {stage.name for stage in todo}
    stale: dict[str, Stage] = {}
    first = ""
    for stage in chosen:
        makers = [made_by[path].name for path in stage.inputs.values() if path in made_by]
        remade = [name for name in makers if name in new or name in stale]
        if remade and records[stage.name] is not None:
            first = first or remade[0]
            stale[stage.name] = stage
    if not stale:
        return
    made = dict.fromkeys(name for stage in stale.values() for name in stage.folders)
    delete = ", ".join([*(f"{FOLDER}/{name}.json" for name in stale), *made])
    alone = (
        f"; or run it alone, conditional_pretrain.py --only {first} with the same config, options "
        f"and OUTPUT_DIR {folder}: if it makes the same files again, the rest stays valid"
    )
    raise UserError(
        f"stage {first} is not done, but {', '.join(stale)} in {str(folder)!r} came after it: they "
        f"would be older than what they read. Delete {delete} there to run them again, too"
        f"{alone if first in STAGES else ''}"
    )
