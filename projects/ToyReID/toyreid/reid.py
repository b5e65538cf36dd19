"""ToyReID: a small SYNTHETIC person re-identification data set, drawn on first use.

It lets everything run without a download: tests, the first training, a look at what camera and
viewpoint embeddings do. The pedestrians are drawings (see ``toyreid.people``); what is measured on
it says nothing about real people or real data sets.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from fastreid.data.datasets import DATASET_REGISTRY
from fastreid.data.datasets.bases import ImageDataset

from .people.once import warn_of_other_spec
from .people.plan import SPLITS, TRAIN, ToySpec
from .people.render import render_toyreid

_NAME = re.compile(r"^(\d+)_c(\d+)s\d+_v(\d)_\d+\.jpg$")


def parse_name(img_path: str) -> tuple[int, int, int]:
    """Identity, camera (0-based) and viewpoint (0 front, 1 side, 2 back) of an image.

    Raises:
        ValueError: the file name is not one of ToyReID's.
    """
    match = _NAME.match(Path(img_path).name)
    if match is None:
        raise ValueError(
            f"ToyReID: {img_path!r} is not named like 0001_c3s1_v0_000123.jpg "
            "(identity, camera, viewpoint, number)"
        )
    pid, camera, view = (int(group) for group in match.groups())
    return pid, camera - 1, view


@DATASET_REGISTRY.register()
class ToyReID(ImageDataset):
    """Synthetic pedestrians under 8 cameras, from 3 viewpoints, in Market-1501's layout.

    By default: 140 identities for training and 60 others for testing.

    Args:
        root: folder of the data sets; the images are in, or rendered into, ``root/ToyReID``.
        spec: sizes and seed. None takes what is there already, else renders the default.
    """

    _junk_pids: ClassVar[list[int]] = [0, -1]
    dataset_name = "toyreid"
    num_views = 3

    def __init__(self, root: str = "datasets", spec: ToySpec | None = None, **kwargs: Any) -> None:
        self.dataset_dir = render_toyreid(root, spec)
        if spec is None:
            warn_of_other_spec(self.dataset_dir, ToySpec())
        super().__init__(
            *(partial(self.process_dir, self.dataset_dir / split) for split in SPLITS), **kwargs
        )

    def viewpoint(self, img_path: str) -> int:
        """Viewpoint of an image: 0 front, 1 side, 2 back."""
        return parse_name(img_path)[2]

    def process_dir(self, folder: Path) -> list[tuple]:
        """Items of a folder, sorted by file name; ids are strings in training, as in FastReID."""
        paths = sorted(str(path) for path in folder.glob("*.jpg"))
        data: list[tuple] = [(path, *parse_name(path)[:2]) for path in paths]
        if folder.name == TRAIN:
            name = self.dataset_name
            data = [(path, f"{name}_{pid}", f"{name}_{camera}") for path, pid, camera in data]
        return data
