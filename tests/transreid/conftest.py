"""TransReID's keys and small sizes on top of the tiny config."""

from __future__ import annotations

import pytest
from small_transreid import make_small_transreid


@pytest.fixture
def transreid_cfg(tiny_cfg):
    """A two-block vit_tiny with JPM and camera SIE at 64x32, on the tiny Market-1501."""
    return make_small_transreid(tiny_cfg)
