"""How an evaluation was made, in the ``meta`` of its results file, so that it can be repeated.

What is kept are the config keys that turn features into metrics, under their names:
``{"TEST.METRIC": "cosine", "TEST.RERANK.ENABLED": false, ...}``.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from fastreid.config import CfgNode, get_cfg

from ..config import add_fasteval_config

SETTINGS = (
    "TEST.METRIC",
    "TEST.AQE.ENABLED",
    "TEST.AQE.ALPHA",
    "TEST.AQE.QE_TIME",
    "TEST.AQE.QE_K",
    "TEST.RERANK.ENABLED",
    "TEST.RERANK.K1",
    "TEST.RERANK.K2",
    "TEST.RERANK.LAMBDA",
    "TEST.ROC.ENABLED",
    "TEST.FASTEVAL.DBA.ENABLED",
    "TEST.FASTEVAL.DBA.K",
    "TEST.FASTEVAL.DBA.ALPHA",
)


def settings_of(cfg: CfgNode) -> dict[str, Any]:
    """Values of :data:`SETTINGS` in a config, which JSON can hold."""
    return {key: functools.reduce(getattr, key.split("."), cfg) for key in SETTINGS}


def config_of(settings: Mapping[str, Any]) -> CfgNode:
    """Config with the values of :func:`settings_of`; what is absent has its default.

    Keys that this version does not have are left out: a file of another version can be read.
    """
    cfg = get_cfg()
    add_fasteval_config(cfg)
    for key in SETTINGS:
        if key in settings:
            cfg.merge_from_list([key, settings[key]])
    return cfg


def describe(cfg: CfgNode) -> str:
    """Settings in words: "cosine, DBA (k 10, alpha 3.0), re-ranked (k1 20, k2 6, lambda 0.3)"."""
    test = cfg.TEST
    words = [test.METRIC]
    if test.FASTEVAL.DBA.ENABLED:
        words.append(f"DBA (k {test.FASTEVAL.DBA.K}, alpha {test.FASTEVAL.DBA.ALPHA})")
    if test.AQE.ENABLED:
        aqe = test.AQE
        words.append(f"AQE (k {aqe.QE_K}, alpha {aqe.ALPHA}, {aqe.QE_TIME} times)")
    if test.RERANK.ENABLED:
        rerank = test.RERANK
        words.append(f"re-ranked (k1 {rerank.K1}, k2 {rerank.K2}, lambda {rerank.LAMBDA})")
    return ", ".join(words)
