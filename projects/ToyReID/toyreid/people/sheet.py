"""A contact sheet of ToyReID: one row a person, one column a camera."""

from __future__ import annotations

from pathlib import Path

from reid_common.pictures import Tile, draw_contact_sheet

from .body import VIEWS
from .plan import TRAIN, Plan, Shot, ToySpec, plan_shots
from .render import read_meta


def twin_pids(plan: Plan, split_pids: range) -> list[tuple[int, int, str]]:
    """Pairs of neighbouring identities that differ in one detail: (pid, pid, the detail)."""
    pairs = []
    for pid in split_pids[:-1]:
        differences = plan.people[pid].differences(plan.people[pid + 1])
        if len(differences) == 1:
            pairs.append((pid, pid + 1, differences[0]))
    return pairs


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
    draw_contact_sheet(
        [[_tile(folder, _first_shot(plan, pid, camera)) for camera in cameras] for pid in pids],
        out,
        "ToyReID: synthetic (drawn) pedestrians, not photographs",
        labels,
        [f"camera {camera + 1}" for camera in cameras],
        cell=(1.7, 0.85),
        bits=5,
    )


def _tile(folder: Path, shot: Shot | None) -> Tile | None:
    if shot is None:
        return None
    caption = f"id {shot.pid} c{shot.camera + 1} {VIEWS[shot.view]}"
    return Tile(folder / TRAIN / shot.name, caption)


def _choose(plan: Plan, rows: int) -> tuple[list[int], list[str]]:
    """The identities to show and their captions."""
    train_pids = range(1, plan.spec.num_train_ids + 1)
    pids, captions = [], []
    for first, second, detail in twin_pids(plan, train_pids)[:1]:
        pids += [first, second]
        captions += [f"identity {first}\ntwin of {second}", f"identity {second}\nbut: {detail}"]
    others = [pid for pid in train_pids if pid not in pids]
    step = max(1, len(others) // max(1, rows - len(pids)))
    for pid in others[::step][: rows - len(pids)]:
        pids.append(pid)
        captions.append(f"identity {pid}")
    return pids, captions


def _first_shot(plan: Plan, pid: int, camera: int) -> Shot | None:
    for shot in plan.shots:
        if (shot.split, shot.pid, shot.camera) == (TRAIN, pid, camera):
            return shot
    return None
