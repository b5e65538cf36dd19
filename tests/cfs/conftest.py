"""A folder of pictures that differ, and what a filter says of each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from cfs.filters.chain import run_filters
from dinopretrain.data.images import UnlabelledImages
from fastreid_compat.dataset_files import open_dataset
from filter_pictures import write_picture
from person_pictures import picture


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    """Ten pictures, 00.png .. 09.png, (64, 32) pixels."""
    folder = tmp_path / "pool"
    folder.mkdir()
    for number in range(10):
        write_picture(folder / f"{number:02d}.png", picture(64, 32, number))
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., tuple[list[str], list[dict]]]:
    """Function: apply filters to images; names of the files that are kept, and the report."""

    def apply(images: UnlabelledImages | Path, *entries: dict) -> tuple[list[str], list[dict]]:
        if isinstance(images, Path):
            images = open_dataset(f"ImageFolder:{images}").images
        kept, done = run_filters(entries, images, str(tmp_path / "cache"), str(tmp_path / "out"))
        return [Path(images.name(index)).name for index in kept.tolist()], done

    return apply
