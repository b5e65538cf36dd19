"""Whether what earlier calls have left in OUTPUT_DIR belongs to this call, and is up to date."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reid_common.errors import UserError
from reid_common.files import was_begun

from ..config import STAGES
from ..records import FOLDER, Record, folders_of, read_record
from ..stages.settings import INPUTS, NOT_COMPARED, digests
from ..stages.stage import Stage


def check_records(stages: Sequence[Stage], chosen: Sequence[Stage]) -> list[Stage]:
    """Check what earlier calls have left, and return those of the chosen stages that are not done.

    Args:
        stages: all that make and read files of one another, in one OUTPUT_DIR.
        chosen: those to run, in order.

    Raises:
        UserError: a stage was started with other settings or inputs, or with what is yet to be
            made; an input is missing; or a folder is of another run.
    """
    records = {stage.name: read_record(stage.folder, stage.name) for stage in stages}
    for stage in chosen:
        check_record(stage, records[stage.name], {**stage.settings, **digests(stage.inputs)})
    made_by = {str(s.folder / path): s for s in stages for path in s.outputs.values()}
    todo = [s for s in chosen if (record := records[s.name]) is None or not record.done]
    for stage in todo:
        for path in stage.inputs.values():
            if path in made_by and made_by[path] not in chosen:
                maker = made_by[path].name
                _check_input(stage.name, path, maker, records[maker])
    makers = {
        s.name: [made_by[path].name for path in s.inputs.values() if path in made_by]
        for s in chosen
    }
    _check_nothing_stale(chosen, todo, makers, records)
    return todo


def check_record(stage: Stage, record: Record | None, settings: Mapping[str, Any]) -> None:
    """Check that a stage can be run, resumed or skipped with what is in its folder.

    Raises:
        UserError: it was started with other settings or inputs than now, it is done and an output
            is missing, or it was never started and an output is there.
    """
    if record is not None:
        check_same_settings(record, settings, stage.folder)
        if record.done:
            check_outputs(stage)
        return
    for path in stage.outputs.values():
        found = stage.folder / path
        if found.exists() or (stage.trains and was_begun(found.parent)):
            behind = ", or begin behind this stage with --from to use it"
            raise UserError(
                f"{str(found.parent if stage.trains else found)!r} is there already, but there is "
                f"no {FOLDER}/{stage.name}.json: it is of another run. Delete it or choose another "
                f"OUTPUT_DIR{behind if stage.name in STAGES else ''}"
            )


def check_same_settings(record: Record, settings: Mapping[str, Any], folder: Path) -> None:
    """Check that a stage is resumed, or skipped, with the settings that it was started with.

    Keys that only one side has do not count.

    Raises:
        UserError: the first key that differs, both values, and what to do in ``folder``.
    """
    for key, value in settings.items():
        before = record.settings.get(key, value)
        if before == value or key in NOT_COMPARED:
            continue
        what = f"{key} was {before!r}, now it is {value!r}"
        if key.startswith(INPUTS):
            what = f"the file of {key.removeprefix(INPUTS)} has changed since"
        raise UserError(
            f"stage {record.stage} in {str(folder)!r} is {record.status} with other settings: "
            f"{what}. Set it back, choose another OUTPUT_DIR, or delete {record.files} there to "
            "run it again"
        )


def check_outputs(stage: Stage) -> None:
    """Raise UserError if something that a stage has made is not there."""
    for path in stage.outputs.values():
        if not (stage.folder / path).exists():
            raise UserError(
                f"stage {stage.name} is done, but {str(stage.folder / path)!r} is not there; put "
                f"it back, or delete {FOLDER}/{stage.name}.json and what is left of the stage to "
                "run it again"
            )


def _check_input(stage: str, path: str, maker: str, record: Record | None) -> None:
    """Check that a file of a stage that is not chosen is there, and finished."""
    if record is not None and not record.done:
        why = f"which stage {maker} has started and not finished"
    elif not Path(path).exists():
        why = f"which stage {maker} makes and which is missing"
    else:
        return
    raise UserError(
        f"stage {stage} needs {path!r}, {why}; run {maker} first, or leave --only and --from out"
    )


def _check_nothing_stale(
    chosen: Sequence[Stage],
    todo: Sequence[Stage],
    makers: Mapping[str, Sequence[str]],
    records: Mapping[str, Record | None],
) -> None:
    """Check that no stage was started with what a stage to run is yet to make.

    Its inputs would be found to have changed when its turn comes: days later.
    """
    new = {stage.name for stage in todo}
    stale: list[Stage] = []
    first = ""
    for stage in chosen:
        remade = [name for name in makers[stage.name] if name in new]
        if remade and records[stage.name] is not None:
            first = first or remade[0]
            stale.append(stage)
            new.add(stage.name)
    if not stale:
        return
    names, folder = [stage.name for stage in stale], str(stale[0].folder)
    made = dict.fromkeys(name for stage in stale for name in folders_of(stage.outputs))
    delete = ", ".join([*(f"{FOLDER}/{name}.json" for name in names), *made])
    alone = (
        f"; or run it alone, conditional_pretrain.py --only {first} with the same config, options "
        f"and OUTPUT_DIR {folder}: if it makes the same files again, the rest stays valid"
    )
    raise UserError(
        f"stage {first} is not done, but {', '.join(names)} in {folder!r} came after it: they "
        f"would be older than what they read. Delete {delete} there to run them again, too"
        f"{alone if first in STAGES else ''}"
    )
