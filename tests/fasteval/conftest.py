"""The tiny config with FastEval's keys."""

from __future__ import annotations

import pytest
from fasteval import add_fasteval_config


@pytest.fixture
def fast_cfg(tiny_cfg):
    """A ResNet-18 on the tiny Market-1501, evaluated by FastEvaluator."""
    add_fasteval_config(tiny_cfg)
    tiny_cfg.DATALOADER.NUM_WORKERS = 0
    tiny_cfg.SEED = 1
    return tiny_cfg
