"""A contact sheet of ToyReID: one row a person, one column a camera."""

from __future__ import annotations

import io
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from PIL import Image, ImageOps

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


def draw_sheet(folder: Path, out: Path, rows: int = 6, dpi: int = 90) -> None:
    """Write a contact sheet of the training images in ``folder`` (a rendered ToyReID) to ``out``.

    The first two rows are near twins, where there are any; the others are spread over the
    identities. A camera under which a person was not seen leaves a gap.
    """
    meta = read_meta(folder)
    if meta is None:
        raise ValueError(f"no ToyReID in {folder}")
    plan = plan_shots(ToySpec(**meta["spec"]))
    pids, captions = _choose(plan, rows)
    num_cameras = plan.spec.num_cameras
    figure, grid = plt.subplots(
        len(pids), num_cameras, figsize=(1.02 * num_cameras + 1.0, 2.05 * len(pids) + 0.6)
    )
    for row, pid in enumerate(pids):
        for camera in range(num_cameras):
            axes = grid[row][camera]
            axes.set_xticks([])
            axes.set_yticks([])
            if camera == 0:
                axes.set_ylabel(captions[row], fontsize=8)
            if row == 0:
                axes.set_title(f"camera {camera + 1}", fontsize=8)
            shot = _first_shot(plan, pid, camera)
            if shot is None:
                axes.spines[:].set_visible(False)
                continue
            axes.imshow(Image.open(folder / TRAIN / shot.name))
            axes.set_xlabel(f"id {pid} c{camera + 1} {VIEWS[shot.view]}", fontsize=6, labelpad=2)
    figure.suptitle("ToyReID: synthetic (drawn) pedestrians, not photographs", fontsize=11)
    figure.tight_layout(rect=(0, 0, 1, 0.985), h_pad=0.4, w_pad=0.2)
    out.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=dpi)
    plt.close(figure)
    # 32 levels a channel halve the file, and nobody sees the difference.
    ImageOps.posterize(Image.open(buffer).convert("RGB"), 5).save(out, optimize=True)


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
