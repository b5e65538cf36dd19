"""Config keys of CFS: the data filters of training sets."""

from __future__ import annotations

from fastreid.config import CfgNode
from reid_core.config.declaration import add_keys
from reid_core.config.keys import FILTER_KEYS


def add_cfs_config(cfg: CfgNode) -> None:
    """Set the keys of data filters, which every config has, to their defaults, in place."""
    add_keys(cfg, FILTER_KEYS)
