"""Whether what a stage takes from earlier ones is there, and still is what it was begun with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from reid_common.errors import UserError

from .config import STAGES
from .records import FOLDER, Record
from .settings import check_same_settings, digests
from .stages import Stage

Records = Mapping[str, Record | None]


def check_earlier(
    stages: Sequence[Stage],
    chosen: Sequence[Stage],
    todo: Sequence[Stage],
    records: Records,
    folder: Path,
) -> None:
    """Check what the chosen stages read of other stages, before the first one runs.

    Args:
        stages: all of the pipeline.
        chosen: those to run or to skip, in order.
        todo: those of them that are not done.
        records: of all stages; None: never begun.
        folder: OUTPUT_DIR.

    Raises:
        UserError: it is not there, has changed, or would be made anew.
    """
    made_by = {str(folder / path): s for s in stages for path in s.outputs.values()}
    makers = {
        stage.name: {path: made_by[path] for path in stage.inputs.values() if path in made_by}
        for stage in chosen
    }
    for stage in todo:
        for path, maker in makers[stage.name].items():
            if maker not in chosen:
                _check_there(stage, path, maker, records)
    _check_nothing_older(chosen, todo, makers, records, folder)
    for stage in chosen:
        record = records[stage.name]
        if record is not None:
            check_same_settings(record, digests(stage.inputs), folder)


def _check_there(stage: Stage, path: str, maker: Stage, records: Records) -> None:
    """Check that what a stage reads of one that is not chosen is there."""
    record = records[maker.name]
    if record is not None and not record.done:
        why = f"which stage {maker.name} has begun and not finished"
    elif not Path(path).exists():
        why = f"which stage {maker.name} makes and which is not there"
    else:
        return
    raise UserError(
        f"stage {stage.name} needs {path!r}, {why}; run {maker.name} first, or leave --only and "
        "--from out"
    )


def _check_nothing_older(
    chosen: Sequence[Stage],
    todo: Sequence[Stage],
    makers: Mapping[str, Mapping[str, Stage]],
    records: Records,
    folder: Path,
) -> None:
    """Check that no stage was begun with what a stage to run is yet to make.

    Its files would be seen to have changed when its turn comes: days later.
    """
    older: list[str] = []
    anew = [stage.name for stage in todo]
    first = ""
    for stage in chosen:
        names = [maker.name for maker in makers[stage.name].values()]
        because = [name for name in names if name in anew or name in older]
        if because and records[stage.name] is not None:
            first = first or because[0]
            older.append(stage.name)
    if not older:
        return
    outputs = [path for stage in chosen if stage.name in older for path in stage.outputs.values()]
    made = dict.fromkeys(f"{path.partition('/')[0]}/" for path in outputs)
    away = [*(f"{FOLDER}/{name}.json" for name in older), *made]
    alone = (
        f"; or run it alone, conditional_pretrain.py --only {first} with the same config, options "
        f"and OUTPUT_DIR {folder}: if it makes the same files again, all goes on"
    )
    raise UserError(
        f"stage {first} is not done, but {', '.join(older)} in {str(folder)!r} came after it: they "
        f"would be older than what they read. Delete {', '.join(away)} there to run them again, too"
        f"{alone if first in STAGES else ''}"
    )
