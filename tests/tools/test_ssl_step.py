"""What a step of each method of pre-training costs."""

from __future__ import annotations

import argparse

import pytest
from reid_commands.benchmarks import ssl_step
from reid_commands.benchmarks.harness import PEAK, WALL
from reid_core.config import load_config


@pytest.mark.parametrize("method", ["IBOT", "MoCoV2", "MoCoV3"])
def test_the_cost_of_a_step(method: str) -> None:
    small = ["MODEL.BACKBONE.NUM_BLOCKS", 1, "DINO.OUT_DIM", 32, "DINO.LOCAL_VIEWS", 0]
    small += ["MOCO.QUEUE_SIZE", 8, "MOCO.HIDDEN_DIM", 32]
    args = argparse.Namespace(backbone="vit_small", batch=2, steps=1, options=small)
    sample = ssl_step.measure(method, args)
    assert sample[WALL] > 0 and PEAK in sample
    assert [
        load_config(ssl_step.config_of(m, "vit_small")).MODEL.META_ARCHITECTURE
        for m in ssl_step.METHODS
    ] == [*ssl_step.METHODS]
