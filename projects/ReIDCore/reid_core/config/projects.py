"""Projects on top of this package, and the one way to a config with the keys of all of them.

A project registers itself when it is imported. Those that are installed are found by the entry
point group ``reid_core.projects``, so that a config is read with the keys of all of them.
"""

from __future__ import annotations

import functools
import importlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from fastreid.config import CfgNode, get_cfg
from fastreid.engine import DefaultTrainer
from reid_common.errors import UserError
from reid_common.published import weights_file

from . import fastreid_keys, fastreid_rules, keys
from .declaration import Key, Rule
from .values import check_choice

GROUP = "reid_core.projects"
REPOSITORY = Path(__file__).resolve().parents[4]


@dataclass(frozen=True)
class Project:
    """What a project adds.

    Attributes:
        package: its name; its log lines are shown beside FastReID's.
        add_config: adds its keys to a config, in place.
        trainers: trainer of each meta-architecture that FastReID's cannot train.
        keys: those that ``add_config`` adds, declared.
        rules: what keys must fulfil together.
        names: further names that a key of FastReID may hold, which only this project knows:
            ``{"MODEL.LOSSES.NAME": ["CenterLoss"]}``; also of MODEL.HEADS.CLS_LAYER and
            DATALOADER.SAMPLER_TRAIN. Those of FastReID's registries are known already.
    """

    package: str
    add_config: Callable[[CfgNode], None] | None = None
    trainers: Mapping[str, type[DefaultTrainer]] = field(default_factory=dict)
    keys: Sequence[Key] = ()
    rules: Sequence[Rule] = ()
    names: Mapping[str, Sequence[str]] = field(default_factory=dict)


PROJECTS: dict[str, Project] = {}


def register_project(project: Project) -> None:
    """Make a project known; a second time changes nothing.

    Raises:
        UserError: ``names`` has a key whose names a project cannot add to.
    """
    if project.package in PROJECTS:
        return
    for key, names in project.names.items():
        check_choice(f"names of project {project.package!r}", key, fastreid_keys.NAMES)
        fastreid_keys.NAMES[key] += [n for n in names if n not in fastreid_keys.NAMES[key]]
    PROJECTS[project.package] = project


@functools.cache
def import_installed() -> None:
    """Import every installed project, which registers it."""
    # Not entry_points(): in a checkout that an older version was installed from, that takes the
    # old egg-info beside setup.py for the installed one.
    entries = [entry for found in distributions() for entry in found.entry_points]
    for package in sorted({entry.value for entry in entries if entry.group == GROUP}):
        importlib.import_module(package)


def all_projects() -> list[Project]:
    """All projects, those that are installed imported, in the order of their names."""
    import_installed()
    return [PROJECTS[name] for name in sorted(PROJECTS)]


def find_config(path: str) -> str:
    """Path of a config file: as given, else in this repository; UserError if there is none."""
    for found in (Path(path), REPOSITORY / path):
        if found.is_file():
            return str(found)
    raise UserError(f"there is no config file {path!r}, nor in {str(REPOSITORY)!r}")


def load_config(path: str | os.PathLike[str] = "", options: Sequence[Any] = ()) -> CfgNode:
    """FastReID's defaults, the keys of all projects, a YAML file, then KEY VALUE pairs.

    Where weights are a folder of published ones (:mod:`reid_common.published`), its file is named.

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
    _forget_types(cfg, options[::2])
    cfg.merge_from_list(list(options))
    for section, key in ((cfg.MODEL, "WEIGHTS"), (cfg.MODEL.BACKBONE, "PRETRAIN_PATH")):
        section[key] = weights_file(section[key])
    return cfg


def _forget_types(cfg: CfgNode, names: Sequence[Any]) -> None:
    """Let options give keys of several types, whose default is None, another than a file has."""
    several = {key.name for keys in declared_keys().values() for key in keys if key.default is None}
    for name in several.intersection(map(str, names)):
        *path, last = name.split(".")
        functools.reduce(getattr, path, cfg)[last] = None


def declared_keys() -> dict[str, Sequence[Key]]:
    """Keys by the package that declares them: FastReID's, those of all projects, each project's."""
    own = {project.package: project.keys for project in all_projects()}
    return {"fastreid": fastreid_keys.KEYS, "reid_core": keys.KEYS, **own}


def declared_rules() -> list[Rule]:
    """Rules of FastReID's keys and of every project."""
    return [*fastreid_rules.RULES, *(rule for p in all_projects() for rule in p.rules)]


def trainer_class(cfg: CfgNode) -> type[DefaultTrainer]:
    """The trainer of a config: FastReID's, but for what that cannot train."""
    trainers = {name: known for p in all_projects() for name, known in p.trainers.items()}
    return trainers.get(cfg.MODEL.META_ARCHITECTURE, DefaultTrainer)
