"""The one way from a YAML file and KEY VALUE pairs to a config."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from fastreid.config import CfgNode, get_cfg

from .projects import all_projects


def load_config(path: str | os.PathLike[str] = "", options: Sequence[Any] = ()) -> CfgNode:
    """FastReID's defaults, the keys of all projects, a YAML file, then KEY VALUE pairs.

    Args:
        path: YAML file, "" for none.
        options: ``["MODEL.DEVICE", "cpu", ...]``, as on the command line.

    Raises:
        UserError: no such file, no such key, a value of the wrong type.
    """
    cfg = get_cfg()
    for project in all_projects():
        if project.add_config:
            project.add_config(cfg)
    if path:
        cfg.merge_from_file(os.fspath(path))
    cfg.merge_from_list(list(options))
    return cfg
