"""For filters: pictures that differ, and what a filter says of each. For scoring: two models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from cfs.filters.chain import run_filters
from dinopretrain.data.images import UnlabelledImages
from filter_pictures import write_picture
from person_pictures import picture
from reid_core.data.opening import open_dataset
from small_scoring import vit_cfg, write_pool, write_weights


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


@pytest.fixture(scope="session")
def scored_pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with 11 images for scoring; read-only."""
    return write_pool(tmp_path_factory.mktemp("scored_pool"))


@pytest.fixture(scope="session")
def vits(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Files of the source and the target model, a tiny ViT before and after "training"."""
    folder = tmp_path_factory.mktemp("vits")
    return (
        write_weights(folder / "source.pth", vit_cfg(), 0),
        write_weights(folder / "target.pth", vit_cfg(), 0, moved=0.02),
    )
