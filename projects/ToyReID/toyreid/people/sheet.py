"""A contact sheet of ToyReID: one row a person, one column a camera."""

from __future__ import annotations

from pathlib import Path

from reid_common.pictures import Tile, draw_contact_sheet

from .body import VIEWS
from .once import read_meta
from .plan import TRAIN, Plan, ToySpec, plan_shots


def draw_sheet(folder: Path, out: Path, rows: int = 6) -> None:
    """Write a contact sheet of the training images in ``folder`` (a rendered ToyReID) to ``out``.

    The first two rows are near twins, where there are any; the others are spread over the
    identities. A camera under which a person was not seen leaves a gap.

    Raises:
        ValueError: there is no ToyReID in ``folder``.
    """
    meta = read_meta(folder)
    if meta is None:
        raise ValueError(f"no ToyReID in {folder}")
    plan = plan_shots(ToySpec(**meta["spec"]))
    pids, labels = _choose(plan, rows)
    cameras = range(plan.spec.num_cameras)
    tiles = {}
    for shot in reversed(plan.shots):  # the first of a person under a camera stays
        if shot.split == TRAIN:
            caption = f"id {shot.pid} c{shot.camera + 1} {VIEWS[shot.view]}"
            tiles[shot.pid, shot.camera] = Tile(folder / TRAIN / shot.name, caption)
    draw_contact_sheet(
        [[tiles.get((pid, camera)) for camera in cameras] for pid in pids],
        out,
        "ToyReID: synthetic (drawn) pedestrians, not photographs",
        labels,
        [f"camera {camera + 1}" for camera in cameras],
        cell=(1.7, 0.85),
        bits=5,
    )


def _choose(plan: Plan, rows: int) -> tuple[list[int], list[str]]:
    """The identities to show and their captions."""
    train_pids = range(1, plan.spec.num_train_ids + 1)
    pids, captions = [], []
    for pid in train_pids[:-1]:
        differences = plan.people[pid].differences(plan.people[pid + 1])
        if len(differences) == 1:
            pids = [pid, pid + 1]
            captions = [f"identity {pid}\ntwin of {pid + 1}"]
            captions += [f"identity {pid + 1}\nbut: {differences[0]}"]
            break
    others = [pid for pid in train_pids if pid not in pids]
    step = max(1, len(others) // max(1, rows - len(pids)))
    others = others[::step][: rows - len(pids)]
    return pids + others, [*captions, *(f"identity {pid}" for pid in others)]
