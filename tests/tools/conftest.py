"""Fixtures for the tests of tools."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from reid_common import pictures
from transreid.visualize import model_pictures


@pytest.fixture
def figures(monkeypatch) -> Iterator[list]:
    """Figures that would have been written."""
    kept: list = []
    for module in (pictures, model_pictures):
        monkeypatch.setattr(module, "save_figure", lambda figure, out: kept.append(figure))
    yield kept
    for figure in kept:
        pictures.plt.close(figure)
