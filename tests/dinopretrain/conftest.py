"""A tiny DINO run: 24 images of noise, a ViT of two blocks, views of 32x16 and 16x8."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastreid.config import CfgNode
from small_dino import small_dino_cfg, write_noise


@pytest.fixture
def dino_cfg(tmp_path: Path) -> CfgNode:
    write_noise(tmp_path / "pool")
    return small_dino_cfg(tmp_path / "pool", tmp_path / "logs")
