"""Checks before a pipeline starts, so that no misspelling ends it after days.

Every stage checks its own config when it starts. Here all of them are checked at once, as far as
that goes before earlier stages have made what later ones read.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fastreid.config import CfgNode

from ..stages.stage import Stage
from .compatibility import check_configs, check_selection, check_weights_fit
from .disk_space import check_space
from .history import check_records

__all__ = ["check_records", "check_stages"]


def check_stages(
    stages: Sequence[Stage], chosen: Sequence[Stage], folder: Path, cfg: CfgNode
) -> None:
    """Check that the chosen stages can run; a UserError names the first thing that is wrong."""
    todo = check_records(stages, chosen)
    by_name = {stage.name: stage for stage in stages}
    check_configs(by_name)
    for stage in todo:
        stage.check()
    check_selection(todo, cfg)
    check_weights_fit(by_name, todo)
    check_space(todo, folder)
